/** The page where a person asks for another e-mail address. It needs a fresh login; a link proves the new address. */
import type { Context } from 'koa';
import { z } from 'zod';
import { requestEmailChange } from '../../account_links/email_change_requests.ts';
import { EmailAddress } from '../../accounts/account.ts';
import { EMAIL_LIMIT } from '../../base/email_address.ts';
import { transact } from '../../db/transaction.ts';
import { requestOf } from '../../http/request_context.ts';
import { openSealer } from '../../outbox/message.ts';
import { freshUser } from './fresh_login.ts';
import { originOfLogin, type LoginContext } from '../login_context.ts';
import { describeWait } from '../messages.ts';
import { formToken, readFormFrom, type SessionUser } from '../session_user.ts';
import { fill, TEXTS } from '../texts/texts.ts';
import { backTo, describeSubpage } from './account_shell.ts';

export const EMAIL_PATH = '/account/email';

const EmailForm = z.object({ form_token: z.string(), new_email: z.string().max(1_024).default('') });

export async function showEmail(login: LoginContext, ctx: Context): Promise<void> {
  const user = await freshUser(login, ctx, EMAIL_PATH);
  if (user) await show(login, ctx, user, 200, '', undefined);
}

export async function submitEmail(login: LoginContext, ctx: Context): Promise<void> {
  const user = await freshUser(login, ctx, EMAIL_PATH);
  if (!user) return;
  const { new_email: typed } = await readFormFrom(ctx, EmailForm, tokenOf(user));
  const email = EmailAddress.safeParse(typed);
  const problem = email.success
    ? email.data === user.account.email && TEXTS.account.email.same
    : fill(TEXTS.account.email.objection, { objection: email.error.issues[0]!.message });
  if (!email.success || problem !== false)
    return show(login, ctx, user, 400, typed.slice(0, EMAIL_LIMIT), problem || undefined);
  const attempted = await login.mailRequests.emailChangeOf(user.account.accountId, () =>
    store(login, ctx, user, email.data),
  );
  if (!attempted.admitted) return refuseForNow(login, ctx, user, attempted.retryAfterSeconds);
  backTo(login, ctx, 'profile', 'emailAsked');
}

async function store(login: LoginContext, ctx: Context, { account }: SessionUser, email: string): Promise<void> {
  const { address, id: requestId, now } = requestOf(ctx);
  const { accountId } = account;
  const seal = await openSealer(login.vault, now);
  await transact(login.database, async (tx) => {
    await requestEmailChange(tx, seal, { email, origin: { accountId, address, requestId } }, now);
    await login.trail.recordIn(tx, originOfLogin(ctx, accountId), {
      event: 'account.email_change_requested',
      outcome: 'success',
      accountId,
    });
  });
}

async function refuseForNow(login: LoginContext, ctx: Context, user: SessionUser, seconds: number): Promise<void> {
  const { accountId } = user.account;
  await login.trail.refusals.record(originOfLogin(ctx, accountId), {
    event: 'account.mail_throttled',
    outcome: 'refused',
    accountId,
    details: { limit: 'account', retry_after_seconds: seconds },
  });
  ctx.set('Retry-After', String(seconds));
  const problem = fill(TEXTS.account.email.throttled, { wait: describeWait(seconds) });
  await show(login, ctx, user, 429, '', problem);
}

async function show(
  login: LoginContext,
  ctx: Context,
  user: SessionUser,
  status: number,
  email: string,
  problem: string | undefined,
): Promise<void> {
  login.views.show(ctx, status, {
    page: 'account_email',
    ...(await describeSubpage(login, ctx, user, { section: 'profile', subpage: 'email' })),
    action: login.views.path(EMAIL_PATH),
    formToken: tokenOf(user),
    newEmail: email,
    problem,
  });
}

function tokenOf({ session }: SessionUser): string {
  return formToken(session, 'the e-mail page');
}
