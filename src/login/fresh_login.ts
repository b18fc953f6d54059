/** Pages that change how a person logs in need a login of the last minutes, because a browser may be left open. */
import type { Context } from 'koa';
import { addSeconds, epochSeconds } from '../base/clock.ts';
import { requestOf } from '../http/request_context.ts';
import type { LoginContext } from './login_context.ts';
import { findSessionUser, type SessionUser } from './session_user.ts';

const FRESH_SECONDS = 600;

/**
 * Returns the person if they logged in within the last ten minutes. Otherwise sends the browser to the login, and then
 * to `path`, and returns `undefined`.
 */
export async function freshUser(login: LoginContext, ctx: Context, path: string): Promise<SessionUser | undefined> {
  const user = await findSessionUser(login, ctx);
  const since = epochSeconds(addSeconds(requestOf(ctx).now, -FRESH_SECONDS));
  if (user && (user.session.loginTs ?? 0) > since) return user;
  const session = user?.session ?? (await login.provider().Session.get(ctx));
  await login.logIn(ctx, login.views.path(path), session);
  return undefined;
}
