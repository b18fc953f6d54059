/**
 * The second step of a login, after the right password: a code of an authenticator app, a passkey (passkey_step.ts) or a
 * recovery code. A wrong code counts against the limits of logins.
 */
import type { Context } from 'koa';
import { z } from 'zod';
import { PASSWORD_METHODS, RECOVERY_CODE_METHOD, TOTP_METHODS } from '../accounts/authentication_context.ts';
import { AccountChanged, requireUnchangedAccount } from '../accounts/password_check.ts';
import type { UnitOfWork } from '../audit/unit_of_work.ts';
import { hasSecondFactor, type AccountFactors } from '../factors/account_factors.ts';
import type { FactorWork } from '../factors/factor_changes.ts';
import { digestsOfCode, typedRecoveryCode, useRecoveryCode } from '../factors/recovery_codes.ts';
import { stepOfStoredCode, useTotpStep } from '../factors/totp.ts';
import { readForm } from '../http/form_body.ts';
import { requestOf } from '../http/request_context.ts';
import { finishLogin } from './finish_login.ts';
import { isOwnPages, stepPath, type Step } from './interaction.ts';
import { knownBrowser } from './known_browser.ts';
import { originOfLogin, type LoginContext } from './login_context.ts';
import { noteFailedSecondStep } from './login_notices.ts';
import { ANOTHER_ACCOUNT, showLogin } from './login_step.ts';
import { describeWait } from './messages.ts';
import { passkeyRequest, showPasskeyPage } from './passkey_form.ts';
import { findFirstStep, type FirstStep } from './proved_password.ts';
import { mayRememberDevices, rememberThisDevice } from './remembered_device.ts';
import { acceptedFactors, demandFor, mayBeSpared, type AcceptedFactors } from './second_step_need.ts';
import { fill, TEXTS } from './texts/texts.ts';

const SecondStepForm = z.union([
  z.object({
    code: z
      .string()
      .max(40)
      .transform((typed) => typed.replaceAll(/\s/g, ''))
      .pipe(z.string().regex(/^\d{6}$/)),
    remember_device: z.literal('on').optional(),
  }),
  z.object({ recovery_code: z.string().min(1).max(64) }),
]);
type SecondStepForm = z.output<typeof SecondStepForm>;

type WrongCode = 'wrong_code' | 'used_code';

/** The code was used at the same time by another request. */
class CodeUsed extends Error {}

export async function showSecondStep(
  login: LoginContext,
  ctx: Context,
  step: Step,
  firstStep: FirstStep,
  { status = 200, problem }: { readonly status?: number; readonly problem?: string } = {},
): Promise<void> {
  const { now } = requestOf(ctx);
  const { interaction, application } = step;
  const { accountId, email, name } = firstStep.account;
  const factors = await login.factors.read(accountId, now);
  const demand = await demandFor(login, interaction, accountId, factors);
  const accepted = acceptedFactors(factors, demand, interaction);
  const { uid } = interaction;
  showPasskeyPage(login, ctx, status, {
    page: 'second_step',
    application,
    email,
    name,
    action: stepPath(login, uid, 'second-step'),
    takesCode: accepted.totp,
    takesRecoveryCode: accepted.recoveryCode,
    offersToRemember:
      (await mayBeSpared(login, accountId)) && (await mayRememberDevices(login, login.database, accountId)),
    passkey: accepted.passkey ? passkeyRequest(login, ctx, uid, factors.passkeys) : undefined,
    enrolsByCode: !hasSecondFactor(factors) && (await login.demandOnAccount(accountId)) !== undefined,
    enrolLink: interaction.prompt.details['enrols'] === true ? undefined : login.views.path('/account/authenticator'),
    otherAccountLink: `${stepPath(login, uid)}?account=${ANOTHER_ACCOUNT}`,
    cancelAction: isOwnPages(interaction) ? undefined : stepPath(login, uid, 'cancel'),
    problem,
  });
}

export async function submitSecondStep(login: LoginContext, ctx: Context, step: Step): Promise<void> {
  const form = SecondStepForm.safeParse(await readForm(ctx));
  const { address, now } = requestOf(ctx);
  const firstStep = await findFirstStep(login, step.interaction, now);
  // the first step was too long ago, or the account was changed since
  if (!firstStep) return showLogin(login, ctx, step);
  if (!form.success)
    return showSecondStep(login, ctx, step, firstStep, { status: 400, problem: TEXTS.secondStep.incomplete });

  const { email } = firstStep.account;
  const attempted = await login.attempts.attemptSecondStep(
    { email, place: { address, browser: knownBrowser(login, ctx) }, now },
    () => tryCode(login, ctx, step, firstStep, form.data),
    (outcome) => outcome !== 'wrong_code' && outcome !== 'used_code',
  );
  if (!attempted.admitted) return refuseForNow(login, ctx, step, firstStep, attempted.retryAfterSeconds);
  const outcome = attempted.result;
  if (outcome === 'changed') return showLogin(login, ctx, step);
  if (outcome !== 'done') await refuse(login, ctx, step, firstStep, form.data, outcome);
}

/** Finishes the login if the code is right. */
async function tryCode(
  login: LoginContext,
  ctx: Context,
  step: Step,
  firstStep: FirstStep,
  form: SecondStepForm,
): Promise<'done' | 'changed' | WrongCode> {
  const { account, remember } = firstStep;
  const { accountId } = account;
  const factors = await login.factors.read(accountId, requestOf(ctx).now);
  const demand = await demandFor(login, step.interaction, accountId, factors);
  const accepted = acceptedFactors(factors, demand, step.interaction);
  const right = await rightCode(login, ctx, accountId, factors, accepted, form);
  if (!right) return 'wrong_code';
  const notices = await login.notices.open(requestOf(ctx).now);
  const use = async (work: UnitOfWork): Promise<void> => {
    await requireUnchangedAccount(work.tx, account);
    if (!(await right.use({ ...work, notices }))) throw new CodeUsed();
    if ('remember_device' in form && form.remember_device) await rememberThisDevice(login, ctx, work, accountId);
  };
  try {
    await finishLogin(login, ctx, step, { account, amr: [...PASSWORD_METHODS, ...right.amr], remember, use });
    return 'done';
  } catch (error) {
    if (error instanceof CodeUsed) return 'used_code';
    if (error instanceof AccountChanged) return 'changed';
    throw error;
  }
}

interface RightCode {
  readonly amr: readonly string[];
  /** Returns false if the code was used before. */
  readonly use: (work: FactorWork) => Promise<boolean>;
}

async function rightCode(
  login: LoginContext,
  ctx: Context,
  accountId: string,
  { totp }: AccountFactors,
  accepted: AcceptedFactors,
  form: SecondStepForm,
): Promise<RightCode | undefined> {
  const { vault } = login.factors;
  if ('code' in form) {
    const timeStep = accepted.totp && totp && (await stepOfStoredCode(vault, totp, form.code, requestOf(ctx).now));
    if (!timeStep) return undefined;
    return { amr: TOTP_METHODS, use: (work) => useTotpStep(work, accountId, timeStep) };
  }
  const code = accepted.recoveryCode ? typedRecoveryCode(form.recovery_code) : undefined;
  if (code === undefined) return undefined;
  const digests = await digestsOfCode(login.database, vault, accountId, code);
  return {
    amr: [RECOVERY_CODE_METHOD],
    use: (work) => useRecoveryCode(work, accountId, digests, { forEnrolment: accepted.enrolmentCode }),
  };
}

async function refuse(
  login: LoginContext,
  ctx: Context,
  step: Step,
  firstStep: FirstStep,
  form: SecondStepForm,
  reason: WrongCode,
): Promise<void> {
  const { account } = firstStep;
  const about = { accountId: account.accountId, clientId: step.clientId, details: { reason } };
  await login.trail.refusals.record(originOfLogin(ctx), { event: 'login.failed', outcome: 'refused', ...about });
  await noteFailedSecondStep(login, ctx, account);
  const ofApp = reason === 'used_code' ? TEXTS.secondStep.usedCode : TEXTS.secondStep.wrongCode;
  const problem = 'code' in form ? ofApp : TEXTS.secondStep.wrongRecoveryCode;
  await showSecondStep(login, ctx, step, firstStep, { status: 401, problem });
}

async function refuseForNow(
  login: LoginContext,
  ctx: Context,
  step: Step,
  firstStep: FirstStep,
  retryAfterSeconds: number,
): Promise<void> {
  await login.trail.refusals.record(originOfLogin(ctx), {
    event: 'login.throttled',
    outcome: 'refused',
    accountId: firstStep.account.accountId,
    clientId: step.clientId,
    details: { retry_after_seconds: retryAfterSeconds },
  });
  ctx.set('Retry-After', String(retryAfterSeconds));
  const problem = fill(TEXTS.login.throttled, { wait: describeWait(retryAfterSeconds) });
  await showSecondStep(login, ctx, step, firstStep, { status: 429, problem });
}
