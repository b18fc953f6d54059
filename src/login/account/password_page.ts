/**
 * The page where a person changes their password. It needs a fresh login, ends all other sessions and what they
 * granted, and gives this session another id.
 */
import type { Context } from 'koa';
import { lockAccount, updateAccount, type Account } from '../../accounts/account.ts';
import { Refused } from '../../base/refusal.ts';
import { transact } from '../../db/transaction.ts';
import { requestOf } from '../../http/request_context.ts';
import { freshUser } from './fresh_login.ts';
import { originOfLogin, type LoginContext } from '../login_context.ts';
import { NewPasswordForm, newPasswordFields, readNewPassword, showWithScript } from '../new_password.ts';
import { formToken, readFormFrom, type SessionUser } from '../session_user.ts';
import { TEXTS } from '../texts/texts.ts';
import { backTo, describeSubpage } from './account_shell.ts';

export const PASSWORD_PATH = '/account/password';

export async function showPassword(login: LoginContext, ctx: Context): Promise<void> {
  const user = await freshUser(login, ctx, PASSWORD_PATH);
  if (user) await show(login, ctx, user, 200, undefined);
}

export async function changePassword(login: LoginContext, ctx: Context): Promise<void> {
  const user = await freshUser(login, ctx, PASSWORD_PATH);
  if (!user) return;
  const form = await readFormFrom(ctx, NewPasswordForm, tokenOf(user));
  const read = await readNewPassword(login, form, user.account);
  if ('problem' in read) return show(login, ctx, user, 400, read.problem);
  await store(login, ctx, user, read.hash);
  backTo(login, ctx, 'security', 'password');
}

async function store(
  login: LoginContext,
  ctx: Context,
  { session, account }: SessionUser,
  hash: string,
): Promise<void> {
  const { accountId } = account;
  const { now } = requestOf(ctx);
  const notices = await login.notices.open(now);
  const renewal = login.renewSession(session);
  await transact(login.database, async (tx) => {
    const work = { tx, trail: login.trail, origin: originOfLogin(ctx, accountId), now };
    const locked: Account = await lockAccount(tx, accountId);
    if (locked.disabledAt !== null || !(await renewal.store(tx))) throw loggedOut();
    const changed = await updateAccount(work, locked, { password_hash: hash }, { keptSession: session.uid });
    await notices.passwordChanged(work, changed);
  });
  renewal.send(ctx);
}

/** Another browser, or an admin, has ended the session meanwhile. */
function loggedOut(): Refused {
  return new Refused({ reason: 'forbidden', detail: TEXTS.errors.loggedOut });
}

async function show(
  login: LoginContext,
  ctx: Context,
  user: SessionUser,
  status: number,
  problem: string | undefined,
): Promise<void> {
  showWithScript(login, ctx, status, {
    page: 'account_password',
    ...(await describeSubpage(login, ctx, user, { section: 'security', subpage: 'password' })),
    ...(await newPasswordFields(login, user.account, problem)),
    action: login.views.path(PASSWORD_PATH),
    formToken: tokenOf(user),
  });
}

function tokenOf({ session }: SessionUser): string {
  return formToken(session, 'the password page');
}
