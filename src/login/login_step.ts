/**
 * The login step. The server counts an attempt against the rate limits before it checks the password. A wrong password,
 * an unknown account and a disabled account get the same response in the same time; only the audit trail has the
 * reason.
 */
import type { Context } from 'koa';
import { z } from 'zod';
import { findAccount, findAccountByEmail, type Account } from '../accounts/account.ts';
import { PASSWORD_METHODS } from '../accounts/authentication_context.ts';
import { requireUnchangedAccount, AccountChanged, type PasswordOutcome } from '../accounts/password_check.ts';
import type { UnitOfWork } from '../audit/unit_of_work.ts';
import { canonicalEmail, EMAIL_LIMIT } from '../base/email_address.ts';
import { hasSecondFactor } from '../factors/account_factors.ts';
import { endSatisfiedNeed } from '../factors/factor_needs.ts';
import { readForm } from '../http/form_body.ts';
import { requestOf } from '../http/request_context.ts';
import { lengthOf, LONGEST_PASSWORD } from '../passwords/password_length.ts';
import { finishLogin } from './finish_login.ts';
import { FORGOTTEN_PASSWORD_PATH } from './forgotten_password_page.ts';
import { isOwnPages, stepPath, type Step } from './interaction.ts';
import { knownBrowser } from './known_browser.ts';
import { originOfLogin, type LoginContext } from './login_context.ts';
import { SHOW_PASSWORD } from './new_password.ts';
import type { LoginPage } from './pages.ts';
import { requiresOtherAccount, describeLoginDemand, describeWait } from './messages.ts';
import { passkeyRequest, showPasskeyPage } from './passkey_form.ts';
import { keepProvedPassword } from './proved_password.ts';
import { isOnRememberedDevice, noteRememberedDevice } from './remembered_device.ts';
import { demandFor, needsSecondStep } from './second_step_need.ts';
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
    .refine((password) => lengthOf(password) <= LONGEST_PASSWORD),
  remember: z.literal('on').optional(),
});

interface LoginFields {
  readonly email: string;
  readonly remember: boolean;
  readonly problem?: string;
  /** A passkey that the browser offered and that is not registered here. */
  readonly unknownCredential?: string | undefined;
}

export async function showLogin(login: LoginContext, ctx: Context, step: Step): Promise<void> {
  const another = ctx.query.account === ANOTHER_ACCOUNT || requiresOtherAccount(step.interaction.prompt.reasons);
  const email = another ? hintedEmail(step) : ((await currentEmail(login, step)) ?? hintedEmail(step));
  await show(login, ctx, step, 200, { email, remember: false });
}

/** Shows the login form again after a passkey failed. */
export async function showLoginProblem(
  login: LoginContext,
  ctx: Context,
  step: Step,
  { status, ...shown }: { readonly status: number } & Omit<LoginFields, 'email' | 'remember'>,
): Promise<void> {
  const email = (await currentEmail(login, step)) ?? hintedEmail(step);
  await show(login, ctx, step, status, { email, remember: false, ...shown });
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
    await goOn(login, ctx, step, outcome.account, remember);
  } catch (error) {
    if (!(error instanceof AccountChanged)) throw error;
    const { accountId } = outcome.account;
    await refuse(login, ctx, step, { email, remember }, { reason: 'wrong_password', accountId });
  }
}

/** Finishes the login, or leads to its second step if the account or the request needs one. */
async function goOn(login: LoginContext, ctx: Context, step: Step, account: Account, remember: boolean): Promise<void> {
  const { interaction } = step;
  const { accountId } = account;
  const factors = await login.factors.read(accountId, requestOf(ctx).now);
  const demand = await demandFor(login, interaction, accountId, factors);
  const isRemembered = hasSecondFactor(factors) && (await isOnRememberedDevice(login, ctx, accountId));
  if (needsSecondStep(account, factors, demand, isRemembered)) {
    await keepProvedPassword(login, ctx, step, { account, remember });
    ctx.status = 303;
    return ctx.redirect(stepPath(login, interaction.uid));
  }
  const use = async (work: UnitOfWork): Promise<void> => {
    await requireUnchangedAccount(work.tx, account);
    if (factors.need) await endSatisfiedNeed(work.tx, account);
    // a device that was forgotten a moment ago spares nothing
    if (isRemembered && !(await noteRememberedDevice(login, ctx, work, accountId)))
      throw new AccountChanged('The device was forgotten in the meantime.');
    const current = await login.factors.read(accountId, requestOf(ctx).now, work.tx);
    if (needsSecondStep(account, current, demand, isRemembered))
      throw new AccountChanged('A factor was added in the meantime.');
  };
  await finishLogin(login, ctx, step, { account, amr: PASSWORD_METHODS, remember, use });
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
  const page: LoginPage = {
    page: 'login',
    passkey: passkeyRequest(login, ctx, uid),
    application: step.application,
    action: stepPath(login, uid, 'login'),
    cancelAction: isOwnPages(step.interaction) ? undefined : stepPath(login, uid, 'cancel'),
    forgottenLink: login.links.sendsMail ? login.views.path(FORGOTTEN_PASSWORD_PATH) : undefined,
    ...shown,
    ...(session && { demand: describeLoginDemand(prompt.reasons, step.application.name) }),
    ...(confirms && { otherAccountLink: `${stepPath(login, uid)}?account=${ANOTHER_ACCOUNT}` }),
  };
  showPasskeyPage(login, ctx, status, page, [SHOW_PASSWORD]);
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
