/** The person's own activity: audit events of their account of the last 90 days, in plain words. */
import type { Context } from 'koa';
import { z } from 'zod';
import { EVENT_NAMES, type EventName } from '../../audit/catalogue.ts';
import { readEvents, type EventPosition, type RecordedEvent } from '../../audit/query.ts';
import { addSeconds, DAY_SECONDS } from '../../base/clock.ts';
import { requestOf } from '../../http/request_context.ts';
import type { LoginContext } from '../login_context.ts';
import { describeDay, describeTime } from '../messages.ts';
import type { SessionUser } from '../session_user.ts';
import { fill, TEXTS } from '../texts/texts.ts';
import type { Activity, ActivityPage } from './account_pages.ts';
import { describeShell, nameOf, sectionPath } from './account_shell.ts';

export const ACTIVITY_DAYS = 90;
const PAGE_LENGTH = 25;

/** The events that the catalogue of texts has words for. Others are of no use to the person. */
export const OWN_EVENTS: readonly EventName[] = EVENT_NAMES.filter((name) =>
  Object.hasOwn(TEXTS.account.activity.events, name),
);

/** The last event of the page before, from the address. It selects only among events of the person's own account. */
const Position = z.strictObject({
  // PostgreSQL has no year 0
  exactly: z.iso.datetime({ precision: 6 }).regex(/^[12]/),
  stream: z.uuid(),
  sequence: z.coerce.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER),
});

export async function showActivity(login: LoginContext, ctx: Context, user: SessionUser): Promise<void> {
  const { now } = requestOf(ctx);
  const after = positionIn(ctx.query['after']);
  const filter = {
    accountId: user.account.accountId,
    events: OWN_EVENTS,
    from: addSeconds(now, -ACTIVITY_DAYS * DAY_SECONDS),
  };
  const rows = await readEvents(login.database, filter, { order: 'desc', limit: PAGE_LENGTH + 1, after });
  const shown = rows.slice(0, PAGE_LENGTH);
  const last = rows.length > PAGE_LENGTH ? shown.at(-1) : undefined;
  const path = sectionPath(login, 'activity');
  login.views.show(ctx, 200, {
    page: 'account_activity',
    ...(await describeShell(login, ctx, user, 'activity')),
    days: await byDay(login, user, shown),
    newestLink: after && path,
    olderLink: last && `${path}?after=${encodeURIComponent(`${last.exactly}~${last.stream}~${last.sequence}`)}`,
  });
}

/** Returns `undefined`, for the newest events, if the address is not one of ours. */
function positionIn(after: unknown): EventPosition | undefined {
  const [exactly, stream, sequence] = typeof after === 'string' ? after.split('~') : [];
  return Position.safeParse({ exactly, stream, sequence }).data;
}

async function byDay(
  login: LoginContext,
  user: SessionUser,
  events: readonly RecordedEvent[],
): Promise<ActivityPage['days']> {
  const described = await Promise.all(
    events.map(async (event) => ({ day: describeDay(event.occurredAt), activity: await describe(login, user, event) })),
  );
  const days = new Map(described.map(({ day }) => [day.iso, day]));
  return [...days.values()].map((day) => ({
    day,
    events: described.filter((one) => one.day.iso === day.iso).map(({ activity }) => activity),
  }));
}

async function describe(login: LoginContext, { account }: SessionUser, event: RecordedEvent): Promise<Activity> {
  const application = event.clientId === null ? TEXTS.theApplication : await nameOf(login, event.clientId);
  const [kind = ''] = event.event.split('.');
  const byAdmin = isByAdmin(account.accountId, event);
  return {
    icon: ICONS[kind] ?? 'activity',
    sentence: fill(TEXTS.account.activity.events[event.event] ?? event.event, { application, factor: factorOf(event) }),
    isAlarming: ALARMING.has(event.event),
    time: describeTime(event.occurredAt),
    // the address of an admin is not the person's, and no business of theirs
    address: byAdmin ? null : event.address,
    byAdmin,
  };
}

/** Whether an admin has caused an event of this account, by the admin API. */
export function isByAdmin(accountId: string, { event, actorType, actorId }: RecordedEvent): boolean {
  const [kind = ''] = event.split('.');
  const isByAnother = actorType === 'client' || (actorType === 'account' && actorId !== accountId);
  return isByAnother && ADMIN_CALLS.has(kind);
}

/** The kind of factor that an event is about, in words. */
function factorOf({ details }: RecordedEvent): string {
  const { factor } = details;
  return (typeof factor === 'string' && TEXTS.account.activity.factors[factor]) || '';
}

const ALARMING = new Set(['login.failed', 'login.throttled', 'refresh_token.reused', 'code.reused']);

/** Kinds of events that a client causes only through the admin API. */
const ADMIN_CALLS = new Set(['account', 'session', 'consent', 'grant', 'factor']);

const ICONS: Readonly<Record<string, string>> = {
  account: 'user-round',
  authorization: 'link',
  backchannel_authentication: 'message-square-text',
  code: 'triangle-alert',
  consent: 'check',
  device: 'tv',
  factor: 'key-round',
  grant: 'unplug',
  login: 'log-in',
  logout: 'log-out',
  recovery_code: 'life-buoy',
  refresh_token: 'triangle-alert',
  remembered_device: 'shield-check',
  session: 'log-out',
};
