/** The page where a person asks for another e-mail address. It needs a fresh login; a link proves the new address. */
import type { Context } from 'koa';
import { z } from 'zod';
import { requestEmailChange } from '../account_links/email_change_requests.ts';
import { EmailAddress } from '../accounts/account.ts';
import { EMAIL_LIMIT } from '../base/email_address.ts';
import { transact } from '../db/transaction.ts';
import { requestOf } from '../http/request_context.ts';
import { openSealer } from '../outbox/message.ts';
import { freshUser } from './fresh_login.ts';
import { originOfLogin, type LoginContext } from './login_context.ts';
import { describeWait } from './messages.ts';
import { formToken, readFormFrom, type SessionUser } from './session_user.ts';

export const EMAIL_PATH = '/account/email';

const EmailForm = z.object({ form_token: z.string(), new_email: z.string().max(1_024).default('') });

export async function showEmail(login: LoginContext, ctx: Context): Promise<void> {
  const user = await freshUser(login, ctx, EMAIL_PATH);
  if (user) show(login, ctx, user, 200, '', undefined);
}

export async function submitEmail(login: LoginContext, ctx: Context): Promise<void> {
  const user = await freshUser(login, ctx, EMAIL_PATH);
  if (!user) return;
  const { new_email: typed } = await readFormFrom(ctx, EmailForm, tokenOf(user));
  const email = EmailAddress.safeParse(typed);
  const problem = email.success
    ? email.data === user.account.email && 'This is the address that your account has already.'
    : `The e-mail address ${email.error.issues[0]?.message}.`;
  if (!email.success || problem !== false)
    return show(login, ctx, user, 400, typed.slice(0, EMAIL_LIMIT), problem || undefined);
  const attempted = await login.mailRequests.emailChangeOf(user.account.accountId, () =>
    store(login, ctx, user, email.data),
  );
  if (!attempted.admitted) return refuseForNow(login, ctx, user, attempted.retryAfterSeconds);
  ctx.status = 303;
  ctx.redirect(`${login.views.path('/account')}?done=email-asked`);
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
  const problem = `You asked for too many mails. Wait ${describeWait(seconds)}, then try again.`;
  show(login, ctx, user, 429, '', problem);
}

function show(
  { views }: LoginContext,
  ctx: Context,
  user: SessionUser,
  status: number,
  email: string,
  problem: string | undefined,
): void {
  views.show(ctx, status, {
    page: 'email',
    action: views.path(EMAIL_PATH),
    formToken: tokenOf(user),
    current: user.account.email,
    email,
    problem,
    backLink: views.path('/account'),
  });
}

function tokenOf({ session }: SessionUser): string {
  return formToken(session, 'the e-mail page');
}
