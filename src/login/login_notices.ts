/**
 * Tells the owner of an account by mail of logins that may not be theirs (ASVS 5.0, 6.3.5): a login from a browser and a
 * network that were not used for the account before, and a right password there whose sender failed at the second step.
 */
import type { Context } from 'koa';
import type { Account } from '../accounts/account.ts';
import type { ReportedChange } from '../accounts/links.ts';
import type { UnitOfWork } from '../audit/unit_of_work.ts';
import { transact } from '../db/transaction.ts';
import { requestOf } from '../http/request_context.ts';
import { knownBrowser } from './known_browser.ts';
import { originOfLogin, type LoginContext } from './login_context.ts';

/** Returns what stores the mail in the transaction of the login; `undefined` if none is needed. */
export async function noticeOfLogin(
  login: LoginContext,
  ctx: Context,
  account: Account,
  proof: ReportedChange,
): Promise<((work: UnitOfWork) => Promise<void>) | undefined> {
  if (!(await isSuspicious(login, ctx, account))) return undefined;
  const notices = await login.notices.open(requestOf(ctx).now);
  return (work) => notices.loggedInAtNewPlace(work, account, proof);
}

/** Stores the mail about a second step that failed, if one is needed. */
export async function noteFailedSecondStep(login: LoginContext, ctx: Context, account: Account): Promise<void> {
  if (!(await isSuspicious(login, ctx, account))) return;
  const { database, trail } = login;
  const { now } = requestOf(ctx);
  const notices = await login.notices.open(now);
  await transact(database, (tx) => notices.secondStepFailed({ tx, trail, origin: originOfLogin(ctx), now }, account));
}

/** A person who logs in for the first time has no other place yet. */
async function isSuspicious(login: LoginContext, ctx: Context, { email }: Account): Promise<boolean> {
  if (!login.links.sendsMail) return false;
  const { address, now } = requestOf(ctx);
  return login.attempts.isNewPlace(email, { address, browser: knownBrowser(login, ctx) }, now);
}
