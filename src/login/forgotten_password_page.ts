/**
 * The page where a person asks for a link to a new password. Its answer and the work for it are the same for every
 * address: account_links/reset_requests.ts looks for the account afterwards.
 */
import type { Context } from 'koa';
import { z } from 'zod';
import { requestReset } from '../account_links/reset_requests.ts';
import { canonicalEmail, EMAIL_ADDRESS, EMAIL_LIMIT } from '../base/email_address.ts';
import { transact } from '../db/transaction.ts';
import { readForm } from '../http/form_body.ts';
import { requestOf } from '../http/request_context.ts';
import { openSealer } from '../outbox/message.ts';
import { originOfLogin, type LoginContext } from './login_context.ts';
import { describeWait } from './messages.ts';
import { noticeOf } from './notice.ts';
import { fill, TEXTS } from './texts/texts.ts';

export const FORGOTTEN_PASSWORD_PATH = '/forgot-password';

const Email = z.string().overwrite(canonicalEmail).pipe(z.string().max(EMAIL_LIMIT).regex(EMAIL_ADDRESS));

export function showForgottenPassword(login: LoginContext, ctx: Context): void {
  show(login, ctx, 200, '', undefined);
}

export async function submitForgottenPassword(login: LoginContext, ctx: Context): Promise<void> {
  const { email: typed = '' } = await readForm(ctx);
  const email = Email.safeParse(typed);
  if (!email.success) return show(login, ctx, 400, typed.slice(0, EMAIL_LIMIT), TEXTS.forgottenPassword.invalid);
  const { address } = requestOf(ctx);
  const attempted = await login.mailRequests.resetFrom(address, () => store(login, ctx, email.data));
  if (!attempted.admitted) return refuseForNow(login, ctx, email.data, attempted.retryAfterSeconds);
  ctx.status = 303;
  ctx.redirect(`${login.views.path(FORGOTTEN_PASSWORD_PATH)}/sent`);
}

export function showResetSent({ views }: LoginContext, ctx: Context): void {
  views.show(ctx, 200, {
    ...noticeOf(TEXTS.forgottenPassword.sent),
    tone: 'done',
    link: { text: TEXTS.forgottenPassword.backToLogin, href: views.path('/account/login') },
  });
}

async function store(login: LoginContext, ctx: Context, email: string): Promise<void> {
  const { address, id: requestId, now } = requestOf(ctx);
  const seal = await openSealer(login.vault, now);
  const receiver = login.digestReceiver(email);
  const request = { email, receiver, origin: { address, requestId } };
  await transact(login.database, (tx) => requestReset(tx, seal, request, now));
}

async function refuseForNow(
  login: LoginContext,
  ctx: Context,
  email: string,
  retryAfterSeconds: number,
): Promise<void> {
  await login.trail.refusals.record(originOfLogin(ctx), {
    event: 'account.mail_throttled',
    outcome: 'refused',
    details: { limit: 'network', retry_after_seconds: retryAfterSeconds },
  });
  ctx.set('Retry-After', String(retryAfterSeconds));
  show(login, ctx, 429, email, fill(TEXTS.forgottenPassword.throttled, { wait: describeWait(retryAfterSeconds) }));
}

function show({ views }: LoginContext, ctx: Context, status: number, email: string, problem: string | undefined): void {
  const action = views.path(FORGOTTEN_PASSWORD_PATH);
  views.show(ctx, status, { page: 'forgotten_password', action, email, problem });
}
