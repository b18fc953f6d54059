/**
 * A cookie that recognizes a browser in which a person has logged in before. That browser may try again even while
 * others guess passwords of the account from the same address (limits/login_attempts.ts). The cookie proves nothing
 * else.
 */
import type { Context } from 'koa';
import { KNOWN_LOGIN_SECONDS } from '../limits/known_logins.ts';
import type { LoginContext } from './login_context.ts';

/** 32 random bytes, base64url. */
const VALUE = /^[\w-]{43}$/;

/** Returns the cookie's value; `undefined` if it is absent or malformed. */
export function knownBrowser({ issuer }: LoginContext, ctx: Context): string | undefined {
  const value = ctx.cookies.get(nameUnder(issuer), { signed: false });
  return value !== undefined && VALUE.test(value) ? value : undefined;
}

/** Sends the cookie with a value that `LoginAttempts.remember` gave. */
export function rememberBrowser(login: LoginContext, ctx: Context, value: string): void {
  ctx.cookies.set(nameUnder(login.issuer), value, {
    path: login.views.path('/interaction'),
    maxAge: KNOWN_LOGIN_SECONDS * 1000,
    httpOnly: true,
    sameSite: 'lax',
    secure: login.issuer.startsWith('https:'),
    // the database decides whether it is known, so a signature would add nothing
    signed: false,
    overwrite: true,
  });
}

function nameUnder(issuer: string): string {
  return `${issuer.startsWith('https:') ? '__Secure-' : ''}gatehouse_known_browser`;
}
