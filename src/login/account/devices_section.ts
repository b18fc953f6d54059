/** Where the person is logged in: each browser with its name, address and last use, and a way to end it. */
import type { Context } from 'koa';
import { z } from 'zod';
import { endAllSessions, endOtherSessions, endSession, listSessions } from '../../accounts/sessions.ts';
import { requestOf } from '../../http/request_context.ts';
import type { Moment } from '../page_parts.ts';
import type { LoginContext } from '../login_context.ts';
import { describeAge, describeMoment } from '../messages.ts';
import { readOwnForm, type SessionUser } from '../session_user.ts';
import { fill, TEXTS } from '../texts/texts.ts';
import type { Device } from './account_pages.ts';
import { backTo, changeAccount, describeShell, doneText, nameOf } from './account_shell.ts';
import { nameDevice } from './device_name.ts';
import { OwnId } from './own_id.ts';

const EndForm = z.object({ form_token: z.string(), session_id: OwnId });
const EndSeveralForm = z.object({ form_token: z.string() });

export const DEVICES_DONE: Readonly<Record<string, string>> = TEXTS.account.devices.done;

export async function showDevices(login: LoginContext, ctx: Context, user: SessionUser): Promise<void> {
  login.views.show(ctx, 200, {
    page: 'account_devices',
    ...(await describeShell(login, ctx, user, 'devices')),
    done: doneText(ctx, DEVICES_DONE),
    devices: await devicesOf(login, user.account.accountId, user.session.uid, requestOf(ctx).now),
    endAction: login.views.path('/account/devices/end'),
    endOthersAction: login.views.path('/account/devices/end-others'),
    endAllAction: login.views.path('/account/devices/end-all'),
  });
}

/** Lists the devices of the person, the one of this session first. */
export async function devicesOf(
  login: LoginContext,
  accountId: string,
  thisSessionId: string,
  now: Date,
): Promise<readonly Device[]> {
  const lifetime = { now, absoluteSeconds: login.sessionAbsoluteTtlSeconds };
  const sessions = await listSessions(login.database, accountId, lifetime);
  const devices = await Promise.all(
    sessions.map(async ({ sessionId, createdAt, expiresAt, clients, device }) => ({
      sessionId,
      current: sessionId === thisSessionId,
      ...nameDevice(device?.userAgent),
      address: device?.address,
      lastUsed: device && describeLastUse(device.usedAt, now),
      since: describeMoment(createdAt),
      until: describeMoment(expiresAt),
      applications: await Promise.all(clients.map((clientId) => nameOf(login, clientId))),
    })),
  );
  return devices.toSorted((one, other) => Number(other.current) - Number(one.current));
}

/** The last use is known to about an hour. */
function describeLastUse(usedAt: Date, now: Date): Moment {
  const { lastUsed, usedLately } = TEXTS.account.devices;
  const { iso, words } = describeAge(usedAt, now);
  const isRecent = now.getTime() - usedAt.getTime() < 3_600_000;
  return { iso, words: isRecent ? usedLately : fill(lastUsed, { age: words }) };
}

export async function endDevice(login: LoginContext, ctx: Context): Promise<void> {
  const { form, accountId } = await readOwnForm(login, ctx, EndForm);
  await changeAccount(login, ctx, accountId, (work) => endSession(work, accountId, form.session_id));
  backTo(login, ctx, 'devices', 'session');
}

export async function endOtherDevices(login: LoginContext, ctx: Context): Promise<void> {
  const { accountId, session } = await readOwnForm(login, ctx, EndSeveralForm);
  await changeAccount(login, ctx, accountId, (work) => endOtherSessions(work, accountId, session.uid));
  backTo(login, ctx, 'devices', 'others');
}

export async function endAllDevices(login: LoginContext, ctx: Context): Promise<void> {
  const { accountId } = await readOwnForm(login, ctx, EndSeveralForm);
  await changeAccount(login, ctx, accountId, (work) => endAllSessions(work, accountId));
  backTo(login, ctx, 'devices', 'all');
}
