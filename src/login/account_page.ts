/** The account page: it lists a person's sessions and the applications with access, and can end each of them. */
import type { Context } from 'koa';
import { z } from 'zod';
import { listConsents, mergeScopes, withdrawConsent } from '../accounts/consents.ts';
import { endAllSessions, endSession, listGrants, listSessions } from '../accounts/sessions.ts';
import type { UnitOfWork } from '../audit/unit_of_work.ts';
import { transact } from '../db/transaction.ts';
import { requestOf } from '../http/request_context.ts';
import { approvalPath } from './approval_page.ts';
import { EMAIL_PATH } from './email_page.ts';
import { PASSWORD_PATH } from './password_page.ts';
import type { AccountPage, NoticePage } from './pages.ts';
import { describePermissions } from './permissions.ts';
import { findApplication, originOfLogin, type LoginContext } from './login_context.ts';
import { findSessionUser, formToken, readOwnForm, type SessionUser } from './session_user.ts';
import { describeMoment } from './messages.ts';

/** The forms contain ids that this server made; other values are refused without a query. */
const id = z.string().regex(/^[\x21-\x7e]{1,2048}$/);
const EndSessionForm = z.object({ form_token: z.string(), session_id: id });
const EndAllSessionsForm = z.object({ form_token: z.string() });
const TakeBackForm = z.object({ form_token: z.string(), client_id: id });

const DONE: ReadonlyMap<string, string> = new Map([
  ['session', 'The session has been ended.'],
  ['all-sessions', 'All sessions have been ended, also in this browser.'],
  ['password', 'Your password has been changed. Your other sessions have been ended.'],
  ['email', 'Your account has the new e-mail address.'],
  ['email-asked', 'A mail with a link is on its way to the new address. Open the link in this browser to confirm it.'],
  ['application', 'The access has been taken back. The application’s tokens no longer work.'],
]);

export async function showAccount(login: LoginContext, ctx: Context): Promise<void> {
  const user = await findSessionUser(login, ctx);
  if (!user) return login.views.show(ctx, 200, notLoggedIn(login, DONE.get(String(ctx.query.done))));
  const { account, session } = user;
  login.views.show(ctx, 200, {
    page: 'account',
    email: account.email,
    name: account.name,
    formToken: formToken(session),
    done: DONE.get(String(ctx.query.done)),
    endSessionAction: login.views.path('/account/sessions/end'),
    endAllSessionsAction: login.views.path('/account/sessions/end-all'),
    takeBackAction: login.views.path('/account/applications/take-back'),
    passwordLink: login.views.path(PASSWORD_PATH),
    emailLink: login.links.sendsMail ? login.views.path(EMAIL_PATH) : undefined,
    logoutLink: login.provider().pathFor('end_session', { mountPath: login.views.path('') }),
    approvals: await approvalsOf(login, account.accountId, requestOf(ctx).now),
    sessions: await sessionsOf(login, user, requestOf(ctx).now),
    applications: await applicationsOf(login, account.accountId, requestOf(ctx).now),
  });
}

export async function endOwnSession(login: LoginContext, ctx: Context): Promise<void> {
  const { form, accountId } = await readOwnForm(login, ctx, EndSessionForm);
  await changeAccount(login, ctx, accountId, (work) => endSession(work, accountId, form.session_id));
  backToAccount(login, ctx, 'session');
}

export async function endAllOwnSessions(login: LoginContext, ctx: Context): Promise<void> {
  const { accountId } = await readOwnForm(login, ctx, EndAllSessionsForm);
  await changeAccount(login, ctx, accountId, (work) => endAllSessions(work, accountId));
  backToAccount(login, ctx, 'all-sessions');
}

export async function takeBackConsent(login: LoginContext, ctx: Context): Promise<void> {
  const { form, accountId } = await readOwnForm(login, ctx, TakeBackForm);
  await changeAccount(login, ctx, accountId, (work) => withdrawConsent(work, accountId, form.client_id));
  backToAccount(login, ctx, 'application');
}

async function approvalsOf(login: LoginContext, accountId: string, now: Date): Promise<AccountPage['approvals']> {
  const waiting = await login.approvals.waiting(accountId, now);
  return Promise.all(
    waiting.map(async ({ id: request, clientId, bindingMessage, expiresAt }) => ({
      link: approvalPath(login, request),
      name: await nameOf(login, clientId),
      bindingMessage,
      expiresAt: describeMoment(expiresAt),
    })),
  );
}

async function sessionsOf(
  login: LoginContext,
  { account, session }: SessionUser,
  now: Date,
): Promise<AccountPage['sessions']> {
  const lifetime = { now, absoluteSeconds: login.sessionAbsoluteTtlSeconds };
  const sessions = await listSessions(login.database, account.accountId, lifetime);
  return Promise.all(
    sessions.map(async ({ sessionId, createdAt, expiresAt, clients }) => ({
      sessionId,
      current: sessionId === session.uid,
      since: describeMoment(createdAt),
      until: describeMoment(expiresAt),
      applications: await Promise.all(clients.map((clientId) => nameOf(login, clientId))),
    })),
  );
}

/** Lists every application with access: by a remembered consent, or by a grant that lasts as long as its session. */
async function applicationsOf(login: LoginContext, accountId: string, now: Date): Promise<AccountPage['applications']> {
  const consents = await listConsents(login.database, accountId);
  const grants = await listGrants(login.database, accountId, now);
  const clientIds = new Set([...consents, ...grants].map(({ clientId }) => clientId));
  return Promise.all(
    [...clientIds].map(async (clientId) => {
      const consent = consents.find((candidate) => candidate.clientId === clientId);
      const clientGrants = grants.filter((grant) => grant.clientId === clientId);
      const scopes = clientGrants
        .map(({ granted }) => granted)
        .reduce(mergeScopes, consent?.scopes ?? { openid: [], claims: [], resources: {} });
      return {
        clientId,
        name: await nameOf(login, clientId),
        since: describeMoment(earliest([consent?.givenAt, ...clientGrants.map(({ createdAt }) => createdAt)])),
        permissions: describePermissions(login, scopes),
      };
    }),
  );
}

async function nameOf(login: LoginContext, clientId: string): Promise<string> {
  return (await findApplication(login, clientId))?.name ?? clientId;
}

function earliest(times: readonly (Date | undefined)[]): Date {
  return new Date(Math.min(...times.filter((time) => time !== undefined).map(Number)));
}

function changeAccount(
  login: LoginContext,
  ctx: Context,
  accountId: string,
  apply: (work: UnitOfWork) => Promise<unknown>,
): Promise<unknown> {
  const { database, trail } = login;
  return transact(database, (tx) =>
    apply({ tx, trail, origin: originOfLogin(ctx, accountId), now: requestOf(ctx).now }),
  );
}

function backToAccount(login: LoginContext, ctx: Context, done: 'session' | 'all-sessions' | 'application'): void {
  ctx.status = 303;
  ctx.redirect(`${login.views.path('/account')}?done=${done}`);
}

export async function logInToAccount(login: LoginContext, ctx: Context): Promise<void> {
  const page = login.views.path('/account');
  if (!(await findSessionUser(login, ctx))) return login.logIn(ctx, page, await login.provider().Session.get(ctx));
  ctx.status = 303;
  ctx.redirect(page);
}

function notLoggedIn({ views }: LoginContext, done: string | undefined): NoticePage {
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
