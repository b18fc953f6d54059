/**
 * The login step. The server counts an attempt against the rate limits before it checks the password. A wrong password,
 * an unknown account and a disabled account get the same response in the same time; only the audit trail has the
 * reason.
 */
import type { Context } from 'koa';
import { z } from 'zod';
import { findAccount, findAccountByEmail, type Account } from '../accounts/account.ts';
import { acrOf } from '../accounts/authentication_context.ts';
import { lengthOf, PASSWORD_LENGTH } from '../accounts/password.ts';
import { requireUnchangedAccount, AccountChanged, type PasswordOutcome } from '../accounts/password_check.ts';
import { canonicalEmail, EMAIL_LIMIT } from '../base/email_address.ts';
import { readForm } from '../http/form_body.ts';
import { requestOf } from '../http/request_context.ts';
import { isOwnPages, resumeWith, stepPath, type Step } from './interaction.ts';
import { knownBrowser, rememberBrowser } from './known_browser.ts';
import { originOfLogin, type LoginContext } from './login_context.ts';
import { requiresOtherAccount, describeLoginDemand, describeWait } from './messages.ts';
import { fill, TEXTS } from './texts/texts.ts';

/** The value of the query parameter `account` with which a step shows the login form without an address. */
export const ANOTHER_ACCOUNT = 'another';

const LoginForm = z.object({
  email: z
    .string()
    .min(1)
    .max(EMAIL_LIMIT)
    .regex(/^[^\p{Cc}]*$/u),
  // the form as a whole is bounded: decomposed, a password has up to four times as many characters
  password: z
    .string()
    .min(1)
    .refine((password) => lengthOf(password) <= PASSWORD_LENGTH.most),
  remember: z.literal('on').optional(),
});

interface LoginFields {
  readonly email: string;
  readonly remember: boolean;
  readonly problem?: string;
}

export async function showLogin(login: LoginContext, ctx: Context, step: Step): Promise<void> {
  const another = ctx.query.account === ANOTHER_ACCOUNT || requiresOtherAccount(step.interaction.prompt.reasons);
  const email = another ? hintedEmail(step) : ((await currentEmail(login, step)) ?? hintedEmail(step));
  await show(login, ctx, step, 200, { email, remember: false });
}

export async function submitLogin(login: LoginContext, ctx: Context, step: Step): Promise<void> {
  const fields = await readForm(ctx);
  const form = LoginForm.safeParse(fields);
  const remember = fields.remember === 'on';
  if (!form.success) {
    return show(login, ctx, step, 400, {
      email: (fields.email ?? '').slice(0, EMAIL_LIMIT),
      remember,
      problem: TEXTS.login.incomplete,
    });
  }
  const { email, password } = form.data;
  const { address, now } = requestOf(ctx);
  const attempted = await login.attempts.attempt(
    { email, place: { address, browser: knownBrowser(login, ctx) }, now },
    () => login.passwords.check(email, password),
    ({ account }) => account !== undefined,
  );
  if (!attempted.admitted) return refuseForNow(login, ctx, step, { email, remember }, attempted.retryAfterSeconds);

  const outcome = attempted.result;
  if (!outcome.account) return refuse(login, ctx, step, { email, remember }, outcome);
  try {
    await finish(login, ctx, step, outcome.account, remember);
  } catch (error) {
    if (!(error instanceof AccountChanged)) throw error;
    const { accountId } = outcome.account;
    return refuse(login, ctx, step, { email, remember }, { reason: 'wrong_password', accountId });
  }
  await rememberPlace(login, ctx, email);
}

/** The login is committed and recorded at this point. A known place only helps at a later login, so a failure is logged. */
async function rememberPlace(login: LoginContext, ctx: Context, email: string): Promise<void> {
  const { address, now, id } = requestOf(ctx);
  try {
    const value = await login.attempts.remember(email, { address, browser: knownBrowser(login, ctx) }, now);
    rememberBrowser(login, ctx, value);
  } catch (error) {
    login.log.warn({ error, request_id: id }, 'login.place_not_remembered');
  }
}

async function refuse(
  login: LoginContext,
  ctx: Context,
  step: Step,
  entered: LoginFields,
  { reason, accountId }: Extract<PasswordOutcome, { reason: string }>,
): Promise<void> {
  const { clientId } = step;
  const about = { accountId, clientId, details: { reason } };
  await login.trail.refusals.record(originOfLogin(ctx), { event: 'login.failed', outcome: 'refused', ...about });
  // 401 tells password managers not to save the password; no WWW-Authenticate, because no HTTP authentication scheme
  // applies
  await show(login, ctx, step, 401, { ...entered, problem: TEXTS.login.wrong });
}

/** Commits the login and its audit event in one transaction. */
function finish(login: LoginContext, ctx: Context, step: Step, account: Account, remember: boolean): Promise<void> {
  const { accountId } = account;
  const { clientId } = step;
  const amr = ['pwd']; // RFC 8176
  const acr = acrOf(amr);
  return resumeWith(login, ctx, originOfLogin(ctx, accountId), async (changes) => {
    changes.add(({ tx }) => requireUnchangedAccount(tx, account));
    changes.record({ event: 'login.succeeded', outcome: 'success', accountId, clientId, details: { amr } });
    // a login is a choice of an account too (`prompt=select_account`)
    return { login: { accountId, amr, ...(acr !== undefined && { acr }), remember }, select_account: {} };
  });
}

async function refuseForNow(
  login: LoginContext,
  ctx: Context,
  step: Step,
  entered: LoginFields,
  retryAfterSeconds: number,
): Promise<void> {
  const account = await findAccountByEmail(login.database, entered.email);
  await login.trail.refusals.record(originOfLogin(ctx), {
    event: 'login.throttled',
    outcome: 'refused',
    accountId: account?.accountId,
    clientId: step.clientId,
    details: { retry_after_seconds: retryAfterSeconds },
  });
  ctx.set('Retry-After', String(retryAfterSeconds));
  const problem = fill(TEXTS.login.throttled, { wait: describeWait(retryAfterSeconds) });
  await show(login, ctx, step, 429, { ...entered, problem });
}

async function show(login: LoginContext, ctx: Context, step: Step, status: number, shown: LoginFields): Promise<void> {
  const { uid, session, prompt } = step.interaction;
  const confirms = shown.email !== '' && canonicalEmail(shown.email) === (await currentEmail(login, step));
  login.views.show(ctx, status, {
    page: 'login',
    application: step.application,
    action: stepPath(login, uid, 'login'),
    cancelAction: isOwnPages(step.interaction) ? undefined : stepPath(login, uid, 'cancel'),
    ...shown,
    ...(session && { demand: describeLoginDemand(prompt.reasons, step.application.name) }),
    ...(confirms && { otherAccountLink: `${stepPath(login, uid)}?account=${ANOTHER_ACCOUNT}` }),
  });
}

/** Returns the email of the person who is already logged in and only has to confirm it (`prompt=login`, `max_age`). */
async function currentEmail(login: LoginContext, { interaction }: Step): Promise<string | undefined> {
  if (!interaction.session) return undefined;
  return (await findAccount(login.database, interaction.session.accountId))?.email;
}

/** Returns the email address from `login_hint` (OpenID Connect Core, 3.1.2.1). */
function hintedEmail({ interaction }: Step): string {
  const hint = interaction.params.login_hint;
  return typeof hint === 'string' && hint.length <= EMAIL_LIMIT ? hint : '';
}
