/**
 * Pages that change how a person logs in need a login of the last minutes, because a browser may be left open, and with
 * the strongest factor of the account. A recovery code counts, because its owner may have no other factor left.
 */
import type { Context } from 'koa';
import { addSeconds, epochSeconds } from '../../base/clock.ts';
import { mayEnrol } from '../../factors/account_factors.ts';
import { requestOf } from '../../http/request_context.ts';
import type { LoginContext } from '../login_context.ts';
import { findSessionUser, type SessionUser } from '../session_user.ts';

const FRESH_SECONDS = 600;

export async function isFreshLogin(
  login: LoginContext,
  { session, account }: SessionUser,
  now: Date,
  seconds = FRESH_SECONDS,
): Promise<boolean> {
  if ((session.loginTs ?? 0) <= epochSeconds(addSeconds(now, -seconds))) return false;
  const { accountId } = account;
  const { required } = await login.demandOf({ params: {} }, accountId);
  return mayEnrol(await login.factors.read(accountId, now), session.amr ?? [], required);
}

/**
 * Returns the person if their login is fresh. Otherwise sends the browser to the login, and then to `path`, and returns
 * `undefined`.
 */
export async function freshUser(login: LoginContext, ctx: Context, path: string): Promise<SessionUser | undefined> {
  const user = await findSessionUser(login, ctx);
  if (user && (await isFreshLogin(login, user, requestOf(ctx).now))) return user;
  const session = user?.session ?? (await login.provider().Session.get(ctx));
  await login.logIn(ctx, login.views.path(path), session, { strongest: true });
  return undefined;
}
