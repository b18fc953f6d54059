/** The page that lists the devices on which a person does not repeat the second step, and forgets them. */
import type { Context } from 'koa';
import { z } from 'zod';
import { transact } from '../../db/transaction.ts';
import { forgetDevice, listRememberedDevices } from '../../factors/remembered_devices.ts';
import { requestOf } from '../../http/request_context.ts';
import { describeSubpage } from './account_shell.ts';
import { backToFactorPage, describeDone } from './factor_owner.ts';
import { originOfLogin, type LoginContext } from '../login_context.ts';
import { describeMoment } from '../messages.ts';
import { findSessionUser, readOwnForm } from '../session_user.ts';

const PAGE = '/account/remembered-devices';

const ForgetForm = z.object({ form_token: z.string(), device_id: z.string().regex(/^device_[0-9A-Za-z]{1,40}$/) });

export async function showRememberedDevices(login: LoginContext, ctx: Context): Promise<void> {
  const user = await findSessionUser(login, ctx);
  if (!user) return login.logIn(ctx, login.views.path(PAGE), await login.provider().Session.get(ctx));
  const devices = await listRememberedDevices(login.database, user.account.accountId, requestOf(ctx).now);
  login.views.show(ctx, 200, {
    ...(await describeSubpage(login, ctx, user, { section: 'security', subpage: 'rememberedDevices' })),
    page: 'account_remembered_devices',
    forgetAction: login.views.path(`${PAGE}/forget`),
    done: describeDone(ctx),
    devices: devices.map(({ deviceId, name, createdAt, lastUsedAt, expiresAt }) => ({
      deviceId,
      name,
      since: describeMoment(createdAt),
      lastUsed: describeMoment(lastUsedAt),
      until: describeMoment(expiresAt),
    })),
  });
}

export async function forgetOwnDevice(login: LoginContext, ctx: Context): Promise<void> {
  const { form, accountId } = await readOwnForm(login, ctx, ForgetForm);
  const { database, trail } = login;
  const origin = originOfLogin(ctx, accountId);
  await transact(database, (tx) =>
    forgetDevice({ tx, trail, origin, now: requestOf(ctx).now }, accountId, form.device_id),
  );
  backToFactorPage(login, ctx, PAGE, 'forgotten');
}
