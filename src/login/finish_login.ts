/** The end of a login: it commits with its audit event and with what it used, such as a code, in one transaction. */
import type { Context } from 'koa';
import type { Account } from '../accounts/account.ts';
import { acrOf } from '../accounts/authentication_context.ts';
import type { UnitOfWork } from '../audit/unit_of_work.ts';
import { epochSeconds } from '../base/clock.ts';
import { requestOf } from '../http/request_context.ts';
import { resumeWith, type Step } from './interaction.ts';
import type { ReportedChange } from '../accounts/links.ts';
import { knownBrowser, rememberBrowser } from './known_browser.ts';
import { noticeOfLogin } from './login_notices.ts';
import { originOfLogin, type LoginContext } from './login_context.ts';

export interface ProvedLogin {
  readonly account: Account;
  /** The methods that the person used (RFC 8176). */
  readonly amr: readonly string[];
  /** Whether the session outlives the browser's. */
  readonly remember: boolean;
  /** What a report of the login disables; the password if absent. */
  readonly proof?: ReportedChange;
  /** Runs in the transaction; a login that it throws for is not made. It may run more than once. */
  readonly use: (work: UnitOfWork) => Promise<void>;
}

export async function finishLogin(
  login: LoginContext,
  ctx: Context,
  step: Step,
  { account, amr, remember, proof = { credential: 'password' }, use }: ProvedLogin,
): Promise<void> {
  const { clientId } = step;
  const { accountId, email } = account;
  const acr = acrOf(amr);
  // a consent repeats this result, which must not make the login later than it was
  const ts = epochSeconds(requestOf(ctx).now);
  const notice = await noticeOfLogin(login, ctx, account, proof);
  await resumeWith(login, ctx, originOfLogin(ctx, accountId), async (changes) => {
    changes.add(use);
    if (notice) changes.add(notice);
    changes.record({ event: 'login.succeeded', outcome: 'success', accountId, clientId, details: { amr } });
    // a login is a choice of an account too (`prompt=select_account`)
    return { login: { accountId, ts, amr: [...amr], ...(acr !== undefined && { acr }), remember }, select_account: {} };
  });
  await rememberPlace(login, ctx, email);
}

/** The login is committed and recorded at this point. A known place only helps at a later login, so a failure is logged. */
async function rememberPlace(login: LoginContext, ctx: Context, email: string): Promise<void> {
  const { address, now, id } = requestOf(ctx);
  try {
    const value = await login.attempts.remember(email, { address, browser: knownBrowser(login, ctx) }, now);
    rememberBrowser(login, ctx, value);
  } catch (error) {
    login.log.warn({ error, request_id: id }, 'login.place_not_remembered');
  }
}
