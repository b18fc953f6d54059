/**
 * The cookie of a device on which an account does not repeat the second step. Each account has a cookie of its own, so
 * that several people can use one browser. A person who administers this server repeats the second step everywhere.
 */
import type { Context } from 'koa';
import { sha256 } from '../base/secret.ts';
import type { Reader } from '../db/connection.ts';
import type { UnitOfWork } from '../audit/unit_of_work.ts';
import { requestOf } from '../http/request_context.ts';
import {
  isRememberedDevice,
  newDeviceCookie,
  rememberDevice,
  REMEMBERED_DEVICE_SECONDS,
  useRememberedDevice,
} from '../factors/remembered_devices.ts';
import { nameDevice } from './account/device_name.ts';
import type { LoginContext } from './login_context.ts';

/** 32 random bytes, base64url. */
const VALUE = /^[\w-]{43}$/;

/** Whether this person may ask not to repeat the second step. */
export async function mayRememberDevices(login: LoginContext, reader: Reader, accountId: string): Promise<boolean> {
  return !(await login.isAdmin(reader, accountId));
}

export async function isOnRememberedDevice(login: LoginContext, ctx: Context, accountId: string): Promise<boolean> {
  const cookie = cookieOf(login, ctx, accountId);
  if (cookie === undefined || !(await mayRememberDevices(login, login.database, accountId))) return false;
  return isRememberedDevice(login.database, accountId, cookie, requestOf(ctx).now);
}

/** Notes that the device spared the second step. Returns false if it may not do so any more. */
export async function noteRememberedDevice(
  login: LoginContext,
  ctx: Context,
  work: UnitOfWork,
  accountId: string,
): Promise<boolean> {
  if (!(await mayRememberDevices(login, work.tx, accountId))) return false;
  return useRememberedDevice(work, accountId, cookieOf(login, ctx, accountId) ?? '');
}

/** Remembers this device in the transaction of the login, and sends its cookie, unless the person is an admin. */
export async function rememberThisDevice(
  login: LoginContext,
  ctx: Context,
  work: UnitOfWork,
  accountId: string,
): Promise<void> {
  if (!(await mayRememberDevices(login, work.tx, accountId))) return;
  const cookie = newDeviceCookie();
  await rememberDevice(work, accountId, { cookie, name: nameDevice(ctx.get('User-Agent')).device });
  ctx.cookies.set(nameFor(login, accountId), cookie, {
    path: login.views.path('/interaction'),
    maxAge: REMEMBERED_DEVICE_SECONDS * 1_000,
    httpOnly: true,
    sameSite: 'lax',
    secure: login.issuer.startsWith('https:'),
    // the database decides whether it is remembered, so a signature would add nothing
    signed: false,
    overwrite: true,
  });
}

function cookieOf(login: LoginContext, ctx: Context, accountId: string): string | undefined {
  const value = ctx.cookies.get(nameFor(login, accountId), { signed: false });
  return value !== undefined && VALUE.test(value) ? value : undefined;
}

function nameFor({ issuer }: LoginContext, accountId: string): string {
  const account = sha256(`remembered device of ${accountId}`).toString('hex').slice(0, 16);
  return `${issuer.startsWith('https:') ? '__Secure-' : ''}gatehouse_device_${account}`;
}
