/** Finds the person that a browser is logged in as, and protects the forms of that person's pages. */
import type { Context } from 'koa';
import type { z } from 'zod';
import { findAccount, type Account } from '../accounts/account.ts';
import { invalid, Refused } from '../base/refusal.ts';
import { equalInConstantTime, sha256 } from '../base/secret.ts';
import { readForm } from '../http/form_body.ts';
import type { LoginContext, Session } from './login_context.ts';
import { TEXTS } from './texts/texts.ts';

/** The person that the browser is logged in as, read again at each request. */
export interface SessionUser {
  readonly session: Session;
  readonly account: Account;
}

export async function findSessionUser(
  { provider, database }: LoginContext,
  ctx: Context,
): Promise<SessionUser | undefined> {
  const session = await provider().Session.get(ctx);
  const account = session.accountId === undefined ? undefined : await findAccount(database, session.accountId);
  return account && !account.disabledAt ? { session, account } : undefined;
}

/**
 * Returns a form token that only the holder of the session cookie can know and that reveals nothing about the cookie.
 * `page` names the page of the form.
 */
export function formToken({ jti }: Session, page = 'the account page'): string {
  return sha256(`a form of ${page} ${jti}`).toString('base64url');
}

/** Reads a form. Refuses it unless its token is the one of this session's account page. */
export async function readOwnForm<T extends { form_token: string }>(
  login: LoginContext,
  ctx: Context,
  schema: z.ZodType<T>,
): Promise<SessionUser & { form: T; accountId: string }> {
  const user = await findSessionUser(login, ctx);
  if (!user) throw new Refused({ reason: 'forbidden', detail: TEXTS.errors.loggedOut });
  const form = await readFormFrom(ctx, schema, formToken(user.session));
  return { ...user, form, accountId: user.account.accountId };
}

/** Reads a form and compares its token with `token`, for a known person and page. */
export async function readFormFrom<T extends { form_token: string }>(
  ctx: Context,
  schema: z.ZodType<T>,
  token: string,
): Promise<T> {
  const form = schema.safeParse(await readForm(ctx));
  if (!form.success) throw invalid('', TEXTS.errors.incompleteForm);
  if (equalInConstantTime(Buffer.from(form.data.form_token), Buffer.from(token))) return form.data;
  throw new Refused({
    reason: 'forbidden',
    detail: TEXTS.errors.outdatedForm,
  });
}
