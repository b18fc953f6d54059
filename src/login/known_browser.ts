/**
 * A cookie by which a browser is known again at the next login: a person who has logged in with it may try again,
 * even while others guess at the account from the same address (limits/login_attempts.ts). It proves nothing else.
 */
import type { Context } from 'koa';
import { KNOWN_LOGIN_SECONDS } from '../limits/known_logins.ts';
import type { LoginContext } from './dependencies.ts';

/** 32 random bytes, base64url. */
const VALUE = /^[\w-]{43}$/;

/** `undefined` for a browser without the cookie, or with anything else in its place. */
export function knownBrowser({ issuer }: LoginContext, ctx: Context): string | undefined {
  const value = ctx.cookies.get(nameUnder(issuer), { signed: false });
  return value !== undefined && VALUE.test(value) ? value : undefined;
}

/** Sends the cookie with a value that `LoginAttempts.remember` gave. */
export function rememberBrowser(room: LoginContext, ctx: Context, value: string): void {
  ctx.cookies.set(nameUnder(room.issuer), value, {
    path: room.views.path('/interaction'),
    maxAge: KNOWN_LOGIN_SECONDS * 1000,
    httpOnly: true,
    sameSite: 'lax',
    secure: room.issuer.startsWith('https:'),
    // the database knows it or it does not: a signature would add nothing
    signed: false,
    overwrite: true,
  });
}

function nameUnder(issuer: string): string {
  return `${issuer.startsWith('https:') ? '__Secure-' : ''}gatehouse_known_browser`;
}
