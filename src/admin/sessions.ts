/** Routes that list and end the login sessions of an account. */
import { z } from 'zod';
import { findAccount, lockAccount } from '../accounts/account.ts';
import { endAllSessions, endSession, listSessions } from '../accounts/sessions.ts';
import { notFound } from '../base/refusal.ts';
import { NO_CONTENT } from '../http/route.ts';
import { adminRoute, type AdminCall, type AdminRoute } from './admin_call.ts';
import { pageOf, paging, type List } from './cursors.ts';
import { AccountParams, Timestamp, timestamp } from './shared_members.ts';

const SessionView = z
  .strictObject({
    session_id: z.string().describe('Identifies the session; it is not the cookie value.'),
    clients: z.array(z.string()).describe('The client_ids that used the session.'),
    created_at: Timestamp,
    expires_at: Timestamp,
    user_agent: z.string().nullable().describe('The User-Agent of the browser; null if it is not known.'),
    address: z.string().nullable().describe('The address of the last login or use.'),
    last_used_at: Timestamp.nullable().describe('The last login or authorization request, exact to about an hour.'),
  })
  .meta({ id: 'Session' });

const ListQuery = z.strictObject(paging);

export const sessionRoutes: readonly AdminRoute[] = [
  adminRoute({
    method: 'GET',
    path: '/accounts/{account_id}/sessions',
    scope: 'sessions:read',
    tag: 'sessions',
    summary: 'List the sessions of an account, newest first',
    params: AccountParams,
    query: ListQuery,
    reply: { status: 200, description: 'A page of sessions.', body: pageOf(SessionView) },
    refuses: [404],
    handle: ({ params, query }, call) => list(call, params.account_id, query),
  }),
  adminRoute({
    method: 'DELETE',
    path: '/accounts/{account_id}/sessions',
    scope: 'sessions:end',
    tag: 'sessions',
    summary: 'End all sessions of an account',
    description:
      'The person is logged out in every browser. Grants that are tied to a session end too, and applications are informed by back-channel logout. Grants with offline_access stay; end them with DELETE on the grant or the consent.',
    params: AccountParams,
    reply: { status: 204, description: 'The account has no sessions.' },
    refuses: [404],
    handle: ({ params }, call) =>
      call.write(async (work) => {
        await lockAccount(work.tx, params.account_id);
        await endAllSessions(work, params.account_id);
        return NO_CONTENT;
      }),
  }),
  adminRoute({
    method: 'DELETE',
    path: '/accounts/{account_id}/sessions/{session_id}',
    scope: 'sessions:end',
    tag: 'sessions',
    summary: 'End a session',
    description: 'Grants that are tied to the session end too.',
    params: AccountParams.extend({ session_id: z.string().max(512).describe('A session of this account.') }),
    reply: { status: 204, description: 'The session has ended.' },
    refuses: [404],
    handle: ({ params }, call) =>
      call.write(async (work) => {
        const ended = await endSession(work, params.account_id, params.session_id);
        if (!ended) throw notFound('The account has no session with this id.');
        return NO_CONTENT;
      }),
  }),
];

type SessionPosition = { readonly created_at: string; readonly id: string };

async function list(call: AdminCall, accountId: string, { limit, cursor }: z.output<typeof ListQuery>) {
  const { database } = call.dependencies;
  const sessions: List = { name: 'sessions', filters: { account_id: accountId } };
  const after = await call.openCursor<SessionPosition>(sessions, cursor);
  if (!(await findAccount(database, accountId))) throw notFound(`Account ${accountId} not found.`);
  const lifetime = { now: call.now, absoluteSeconds: call.dependencies.sessionAbsoluteTtlSeconds };
  const rows = await listSessions(database, accountId, lifetime, {
    limit: limit + 1,
    after: after && { createdAt: new Date(after.created_at), id: after.id },
  });
  return call.page(sessions, {
    rows,
    limit,
    position: ({ createdAt, sessionId }): SessionPosition => ({ created_at: createdAt.toISOString(), id: sessionId }),
    view: ({ sessionId, clients, createdAt, expiresAt, device }) => ({
      session_id: sessionId,
      clients: [...clients],
      created_at: timestamp(createdAt),
      expires_at: timestamp(expiresAt),
      user_agent: device?.userAgent ?? null,
      address: device?.address ?? null,
      last_used_at: device && timestamp(device.usedAt),
    }),
  });
}
