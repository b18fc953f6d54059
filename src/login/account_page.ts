/** A person's own account: where they are logged in and which applications have access, each with a way to end it. */
import type { Context } from 'koa';
import { z } from 'zod';
import { listConsents, mergeScopes, withdrawConsent } from '../accounts/consents.ts';
import { endAllSessions, endSession, listGrants, listSessions } from '../accounts/sessions.ts';
import type { UnitOfWork } from '../audit/unit_of_work.ts';
import { transact } from '../db/transaction.ts';
import { requestOf } from '../http/request_context.ts';
import { approvalPath } from './approval_page.ts';
import type { AccountPage, NoticePage } from './pages.ts';
import { describePermissions } from './permissions.ts';
import { findApplication, originOf, type LoginContext } from './dependencies.ts';
import { findSessionUser, formToken, readOwnForm, type SessionUser } from './session_user.ts';
import { describeMoment } from './messages.ts';

/** Ids come back from our own forms; what does not look like one is not worth a query. */
const id = z.string().regex(/^[\x21-\x7e]{1,2048}$/);
const EndSessionForm = z.object({ form_token: z.string(), session_id: id });
const EndAllSessionsForm = z.object({ form_token: z.string() });
const TakeBackForm = z.object({ form_token: z.string(), client_id: id });

const DONE: ReadonlyMap<string, string> = new Map([
  ['session', 'The session has been ended.'],
  ['all-sessions', 'All sessions have been ended, also in this browser.'],
  ['application', 'The access has been taken back. The application’s tokens no longer work.'],
]);

export async function showAccount(room: LoginContext, ctx: Context): Promise<void> {
  const visitor = await findSessionUser(room, ctx);
  if (!visitor) return room.views.show(ctx, 200, nobody(room, DONE.get(String(ctx.query.done))));
  const { account, session } = visitor;
  room.views.show(ctx, 200, {
    page: 'account',
    email: account.email,
    name: account.name,
    formToken: formToken(session),
    done: DONE.get(String(ctx.query.done)),
    endSessionAction: room.views.path('/account/sessions/end'),
    endAllSessionsAction: room.views.path('/account/sessions/end-all'),
    takeBackAction: room.views.path('/account/applications/take-back'),
    logoutLink: room.provider().pathFor('end_session', { mountPath: room.views.path('') }),
    approvals: await approvalsOf(room, account.accountId, requestOf(ctx).now),
    sessions: await sessionsOf(room, visitor, requestOf(ctx).now),
    applications: await applicationsOf(room, account.accountId, requestOf(ctx).now),
  });
}

export async function endOwnSession(room: LoginContext, ctx: Context): Promise<void> {
  const { form, accountId } = await readOwnForm(room, ctx, EndSessionForm);
  await change(room, ctx, accountId, (own) => endSession(own, accountId, form.session_id));
  backToAccount(room, ctx, 'session');
}

export async function endAllOwnSessions(room: LoginContext, ctx: Context): Promise<void> {
  const { accountId } = await readOwnForm(room, ctx, EndAllSessionsForm);
  await change(room, ctx, accountId, (own) => endAllSessions(own, accountId));
  backToAccount(room, ctx, 'all-sessions');
}

export async function takeBackConsent(room: LoginContext, ctx: Context): Promise<void> {
  const { form, accountId } = await readOwnForm(room, ctx, TakeBackForm);
  await change(room, ctx, accountId, (own) => withdrawConsent(own, accountId, form.client_id));
  backToAccount(room, ctx, 'application');
}

async function approvalsOf(room: LoginContext, accountId: string, now: Date): Promise<AccountPage['approvals']> {
  const waiting = await room.approvals.waiting(accountId, now);
  return Promise.all(
    waiting.map(async ({ id: request, clientId, bindingMessage, expiresAt }) => ({
      link: approvalPath(room, request),
      name: await nameOf(room, clientId),
      bindingMessage,
      expiresAt: describeMoment(expiresAt),
    })),
  );
}

async function sessionsOf(
  room: LoginContext,
  { account, session }: SessionUser,
  now: Date,
): Promise<AccountPage['sessions']> {
  const lasting = { now, absoluteSeconds: room.sessionAbsoluteTtlSeconds };
  const sessions = await listSessions(room.database, account.accountId, lasting);
  return Promise.all(
    sessions.map(async ({ sessionId, createdAt, expiresAt, clients }) => ({
      sessionId,
      current: sessionId === session.uid,
      since: describeMoment(createdAt),
      until: describeMoment(expiresAt),
      applications: await Promise.all(clients.map((clientId) => nameOf(room, clientId))),
    })),
  );
}

/** Everyone who has access: by a consent that is remembered, or by a grant that lasts as long as its session. */
async function applicationsOf(room: LoginContext, accountId: string, now: Date): Promise<AccountPage['applications']> {
  const consents = await listConsents(room.database, accountId);
  const grants = await listGrants(room.database, accountId, now);
  const clientIds = new Set([...consents, ...grants].map(({ clientId }) => clientId));
  return Promise.all(
    [...clientIds].map(async (clientId) => {
      const consent = consents.find((candidate) => candidate.clientId === clientId);
      const own = grants.filter((grant) => grant.clientId === clientId);
      const scopes = own
        .map(({ granted }) => granted)
        .reduce(mergeScopes, consent?.scopes ?? { openid: [], claims: [], resources: {} });
      return {
        clientId,
        name: await nameOf(room, clientId),
        since: describeMoment(earliest([consent?.givenAt, ...own.map(({ createdAt }) => createdAt)])),
        permissions: describePermissions(room, scopes),
      };
    }),
  );
}

async function nameOf(room: LoginContext, clientId: string): Promise<string> {
  return (await findApplication(room, clientId))?.name ?? clientId;
}

function earliest(times: readonly (Date | undefined)[]): Date {
  return new Date(Math.min(...times.filter((time) => time !== undefined).map(Number)));
}

function change(
  room: LoginContext,
  ctx: Context,
  accountId: string,
  work: (change: UnitOfWork) => Promise<unknown>,
): Promise<unknown> {
  const { database, trail } = room;
  return transact(database, (tx) => work({ tx, trail, origin: originOf(ctx, accountId), now: requestOf(ctx).now }));
}

function backToAccount(room: LoginContext, ctx: Context, done: 'session' | 'all-sessions' | 'application'): void {
  ctx.status = 303;
  ctx.redirect(`${room.views.path('/account')}?done=${done}`);
}

export async function logInToAccount(room: LoginContext, ctx: Context): Promise<void> {
  const page = room.views.path('/account');
  if (!(await findSessionUser(room, ctx))) return room.logIn(ctx, page, await room.provider().Session.get(ctx));
  ctx.status = 303;
  ctx.redirect(page);
}

function nobody({ views }: LoginContext, done: string | undefined): NoticePage {
  return {
    page: 'notice',
    heading: 'You are not logged in',
    sentences: [
      ...(done === undefined ? [] : [done]),
      'Log in to see where you are logged in and which applications have access to your account.',
    ],
    link: { text: 'Log in', href: views.path('/account/login') },
  };
}
