/**
 * The person who changes a factor of their account. Adding and removing a factor needs a recent login with the strongest
 * factor that the account has; a login with a recovery code may add one. Where an admin demands a factor of the account,
 * a password alone adds no first one: a thief of the password would meet the demand with a factor of their own.
 */
import type { Context } from 'koa';
import type { z } from 'zod';
import { transact } from '../../db/transaction.ts';
import { epochSeconds } from '../../base/clock.ts';
import { Refused } from '../../base/refusal.ts';
import type { FactorWork } from '../../factors/factor_changes.ts';
import { hasSecondFactor, mayEnrol, mayRemove, type AccountFactors } from '../../factors/account_factors.ts';
import { requestOf } from '../../http/request_context.ts';
import { originOfLogin, type LoginContext } from '../login_context.ts';
import { findSessionUser, formToken, readFormFrom, type SessionUser } from '../session_user.ts';
import { TEXTS } from '../texts/texts.ts';
import type { FactorPage, Subpage } from './account_pages.ts';
import { describeSubpage, doneText } from './account_shell.ts';

const LONGEST_LOGIN_AGE_SECONDS = 600;
/** The query parameter of a page that asks for a new login. */
const AGAIN = 'login';

export interface FactorOwner extends SessionUser {
  readonly factors: AccountFactors;
  readonly mayAdd: boolean;
  readonly mayRemove: boolean;
}

/**
 * Returns the person of a page that changes factors. Leads to the login, and returns `undefined`, if no person is logged in
 * or the person asked to log in again.
 */
export async function openFactorPage(
  login: LoginContext,
  ctx: Context,
  page: string,
): Promise<FactorOwner | undefined> {
  const user = await findSessionUser(login, ctx);
  if (user && ctx.query[AGAIN] !== 'again') return ownerOf(login, ctx, user);
  await login.logIn(ctx, login.views.path(page), user?.session ?? (await login.provider().Session.get(ctx)), {
    strongest: true,
    enrols: true,
  });
  return undefined;
}

/** What the pages that change factors have in common. */
export async function factorPage(
  login: LoginContext,
  ctx: Context,
  { page, subpage }: { readonly page: string; readonly subpage: Subpage },
  owner: FactorOwner,
): Promise<FactorPage> {
  return {
    ...(await describeSubpage(login, ctx, owner, { section: 'security', subpage })),
    formToken: tokenFor(owner.session),
    logInAgainLink: `${login.views.path(page)}?${AGAIN}=again`,
    mayAdd: owner.mayAdd,
    mayRemove: owner.mayRemove,
    done: describeDone(ctx),
  };
}

/** Reads a form of such a page. Refuses it if the login is not recent or strong enough for the change. */
export async function readFactorForm<T extends { form_token: string }>(
  login: LoginContext,
  ctx: Context,
  schema: z.ZodType<T>,
  change: 'add' | 'remove',
): Promise<{ readonly form: T; readonly owner: FactorOwner }> {
  const user = await findSessionUser(login, ctx);
  if (!user) throw new Refused({ reason: 'forbidden', detail: TEXTS.errors.loggedOut });
  const form = await readFormFrom(ctx, schema, tokenFor(user.session));
  const owner = await ownerOf(login, ctx, user);
  if (change === 'add' ? owner.mayAdd : owner.mayRemove) return { form, owner };
  throw new Refused({
    reason: 'forbidden',
    detail: TEXTS.account.factors.tooWeak,
  });
}

/** Makes the change in one transaction; the session of this browser gets a new id. */
export async function changeFactor(
  login: LoginContext,
  ctx: Context,
  { account, session }: FactorOwner,
  apply: (work: FactorWork) => Promise<boolean>,
): Promise<boolean> {
  const { database, trail } = login;
  const { now } = requestOf(ctx);
  const origin = originOfLogin(ctx, account.accountId);
  const notices = await login.notices.open(now);
  const renewal = login.renewSession(session);
  const isChanged = await transact(database, async (tx) => {
    if (!(await apply({ tx, trail, origin, now, notices }))) return false;
    if (await renewal.store(tx)) return true;
    throw new Refused({ reason: 'forbidden', detail: TEXTS.errors.loggedOut });
  });
  if (isChanged) renewal.send(ctx);
  return isChanged;
}

/** Redirects to the page, which then says what was done. */
export function backToFactorPage(login: LoginContext, ctx: Context, page: string, done: string): void {
  ctx.status = 303;
  ctx.redirect(`${login.views.path(page)}?done=${done}`);
}

/** Says what was done. */
export function describeDone(ctx: Context): string | undefined {
  return doneText(ctx, TEXTS.account.factors.done);
}

async function ownerOf(login: LoginContext, ctx: Context, user: SessionUser): Promise<FactorOwner> {
  const { now } = requestOf(ctx);
  const { session, account } = user;
  const factors = await login.factors.read(account.accountId, now);
  const { required } = hasSecondFactor(factors)
    ? await login.demandOf({ params: {} }, account.accountId)
    : { required: await login.demandOnAccount(account.accountId) };
  const isRecent = (session.loginTs ?? 0) + LONGEST_LOGIN_AGE_SECONDS > epochSeconds(now);
  const amr = session.amr ?? [];
  return {
    ...user,
    factors,
    mayAdd: isRecent && mayEnrol(factors, amr, required),
    mayRemove: isRecent && mayRemove(factors, amr),
  };
}

function tokenFor(session: SessionUser['session']): string {
  return formToken(session, 'the pages of factors');
}
