/** Whoever opens a page of their own: who they are, and forms that only such a page can have sent. */
import type { Context } from 'koa';
import type { z } from 'zod';
import { findAccount, type Account } from '../accounts/account.ts';
import { invalid, Refused } from '../base/refusal.ts';
import { equalInConstantTime, sha256 } from '../base/secret.ts';
import { readForm } from '../http/form_body.ts';
import type { LoginContext, Session } from './dependencies.ts';

/** Who this browser is logged in as, read anew at every request. */
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

/** Only who holds the session's cookie can know it, and it tells nothing about the cookie. `page` is what the form is on. */
export function formToken({ jti }: Session, page = 'the account page'): string {
  return sha256(`a form of ${page} ${jti}`).toString('base64url');
}

/** A form of a page that was made for this very session, and not by guesswork. */
export async function readOwnForm<T extends { form_token: string }>(
  room: LoginContext,
  ctx: Context,
  schema: z.ZodType<T>,
): Promise<{ form: T; accountId: string }> {
  const visitor = await findSessionUser(room, ctx);
  if (!visitor)
    throw new Refused({ reason: 'forbidden', detail: 'You are no longer logged in, so nothing was changed.' });
  const form = await readFormFrom(ctx, schema, formToken(visitor.session));
  return { form, accountId: visitor.account.accountId };
}

/** The same where the visitor is known, and the page that the form must be of. */
export async function readFormFrom<T extends { form_token: string }>(
  ctx: Context,
  schema: z.ZodType<T>,
  token: string,
): Promise<T> {
  const form = schema.safeParse(await readForm(ctx));
  if (!form.success) throw invalid('', 'The form is incomplete.');
  if (equalInConstantTime(Buffer.from(form.data.form_token), Buffer.from(token))) return form.data;
  throw new Refused({
    reason: 'forbidden',
    detail: 'The page was out of date, so nothing was changed. Open it again.',
  });
}
