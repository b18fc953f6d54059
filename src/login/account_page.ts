/** A person's own account: where they are logged in and which applications have access, each with a way to end it. */
import type { Context } from 'koa';
import type { Provider } from 'oidc-provider';
import { z } from 'zod';
import { findAccount, type Account } from '../accounts/account.ts';
import { listConsents, mergeScopes, withdrawConsent } from '../accounts/consents.ts';
import { endSession, listGrants, listSessions } from '../accounts/sessions.ts';
import type { Change } from '../audit/change.ts';
import { invalid, Refused } from '../base/refusal.ts';
import { equalInConstantTime, sha256 } from '../base/secret.ts';
import { transact } from '../db/transaction.ts';
import { readForm } from '../http/form_body.ts';
import { requestOf } from '../http/request_context.ts';
import type { AccountPage } from './pages.ts';
import { describePermissions } from './permissions.ts';
import { findApplication, originOf, type LoginRoom } from './room.ts';
import { describeMoment } from './wording.ts';

type Session = Awaited<ReturnType<Provider['Session']['get']>>;

/** Who this browser is logged in as, read anew at every request. */
interface Visitor {
  readonly session: Session;
  readonly account: Account;
}

/** Ids come back from our own forms; what does not look like one is not worth a query. */
const id = z.string().regex(/^[\x21-\x7e]{1,2048}$/);
const EndSessionForm = z.object({ form_token: z.string(), session_id: id });
const TakeBackForm = z.object({ form_token: z.string(), client_id: id });

const DONE: ReadonlyMap<string, string> = new Map([
  ['session', 'The session has been ended.'],
  ['application', 'The access has been taken back. The application’s tokens no longer work.'],
]);

export async function showAccount(room: LoginRoom, ctx: Context): Promise<void> {
  const visitor = await findVisitor(room, ctx);
  if (!visitor) return room.views.show(ctx, 200, NOBODY);
  const { account, session } = visitor;
  room.views.show(ctx, 200, {
    page: 'account',
    email: account.email,
    name: account.name,
    formToken: formToken(session),
    done: DONE.get(String(ctx.query.done)),
    endSessionAction: room.views.path('/account/sessions/end'),
    takeBackAction: room.views.path('/account/applications/take-back'),
    logoutLink: room.provider().pathFor('end_session', { mountPath: room.views.path('') }),
    sessions: await sessionsOf(room, visitor, requestOf(ctx).now),
    applications: await applicationsOf(room, account.accountId, requestOf(ctx).now),
  });
}

export async function endOwnSession(room: LoginRoom, ctx: Context): Promise<void> {
  const { form, accountId } = await readOwnForm(room, ctx, EndSessionForm);
  await change(room, ctx, accountId, (own) => endSession(own, accountId, form.session_id));
  backToAccount(room, ctx, 'session');
}

export async function takeBackConsent(room: LoginRoom, ctx: Context): Promise<void> {
  const { form, accountId } = await readOwnForm(room, ctx, TakeBackForm);
  await change(room, ctx, accountId, (own) => withdrawConsent(own, accountId, form.client_id));
  backToAccount(room, ctx, 'application');
}

/** A form of a page that was made for this very session, and not by guesswork. */
async function readOwnForm<T extends { form_token: string }>(room: LoginRoom, ctx: Context, schema: z.ZodType<T>) {
  const visitor = await findVisitor(room, ctx);
  if (!visitor)
    throw new Refused({ reason: 'forbidden', detail: 'You are no longer logged in, so nothing was changed.' });
  const form = schema.safeParse(await readForm(ctx));
  if (!form.success) throw invalid('', 'The form is incomplete.');
  if (!equalInConstantTime(Buffer.from(form.data.form_token), Buffer.from(formToken(visitor.session)))) {
    throw new Refused({
      reason: 'forbidden',
      detail: 'The page was out of date, so nothing was changed. Open your account page again.',
    });
  }
  return { form: form.data, accountId: visitor.account.accountId };
}

async function findVisitor({ provider, database }: LoginRoom, ctx: Context): Promise<Visitor | undefined> {
  const session = await provider().Session.get(ctx);
  const account = session.accountId === undefined ? undefined : await findAccount(database, session.accountId);
  return account && !account.disabledAt ? { session, account } : undefined;
}

/** Only who holds the session's cookie can know it, and it tells nothing about the cookie. */
function formToken({ jti }: Session): string {
  return sha256(`a form of the account page ${jti}`).toString('base64url');
}

async function sessionsOf(room: LoginRoom, { account, session }: Visitor, now: Date): Promise<AccountPage['sessions']> {
  const sessions = await listSessions(room.database, account.accountId, now);
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
async function applicationsOf(room: LoginRoom, accountId: string, now: Date): Promise<AccountPage['applications']> {
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

async function nameOf(room: LoginRoom, clientId: string): Promise<string> {
  return (await findApplication(room, clientId))?.name ?? clientId;
}

function earliest(times: readonly (Date | undefined)[]): Date {
  return new Date(Math.min(...times.filter((time) => time !== undefined).map(Number)));
}

function change(
  room: LoginRoom,
  ctx: Context,
  accountId: string,
  work: (change: Change) => Promise<unknown>,
): Promise<unknown> {
  const { database, trail } = room;
  return transact(database, (tx) => work({ tx, trail, origin: originOf(ctx, accountId), now: requestOf(ctx).now }));
}

function backToAccount(room: LoginRoom, ctx: Context, done: 'session' | 'application'): void {
  ctx.status = 303;
  ctx.redirect(`${room.views.path('/account')}?done=${done}`);
}

const NOBODY = {
  page: 'notice',
  heading: 'You are not logged in',
  sentences: ['Open an application that uses this login, log in there, and come back to this page.'],
} as const;
