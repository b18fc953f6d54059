/** The form with which a person sets a password, on the account's page and by a link. */
import type { Context } from 'koa';
import { z } from 'zod';
import type { Account } from '../accounts/account.ts';
import { hashPassword } from '../accounts/password.ts';
import type { LoginContext } from './login_context.ts';
import type { NewPasswordFields } from './credential_pages.ts';
import { fill, TEXTS } from './texts/texts.ts';

/** The form as a whole is bounded. `repeated_password` is in the page for browsers without a script, which can not show what was typed. */
export const NewPasswordForm = z.object({
  form_token: z.string(),
  new_password: z.string().default(''),
  repeated_password: z.string().optional(),
});

/** Returns the hash, or the problem to show. */
export async function readNewPassword(
  { passwordRules, argon2id }: LoginContext,
  { new_password: password, repeated_password: repeated }: z.output<typeof NewPasswordForm>,
  account: Account,
): Promise<{ readonly hash: string } | { readonly problem: string }> {
  if (password === '') return { problem: TEXTS.newPassword.missing };
  const objection = await passwordRules.objection(password, account);
  if (objection !== undefined) return { problem: fill(TEXTS.newPassword.objection, { objection }) };
  if (repeated !== undefined && repeated.normalize('NFC') !== password.normalize('NFC'))
    return { problem: TEXTS.newPassword.different };
  return { hash: await hashPassword(argon2id, password) };
}

/** The members of a page with this form. */
export async function newPasswordFields(
  { passwordRules }: LoginContext,
  account: Account,
  problem: string | undefined,
): Promise<NewPasswordFields> {
  return { email: account.email, minLength: passwordRules.minLength, problem };
}

/** The script that shows what was typed. */
export const SHOW_PASSWORD = 'show_password.js';

export function showWithScript(
  { views }: LoginContext,
  ctx: Context,
  status: number,
  page: Parameters<LoginContext['views']['show']>[2],
): void {
  views.show(ctx, status, page, [SHOW_PASSWORD]);
}
