/**
 * A login with a passkey, as the only step or after the password. The passkey verified its user, so it is two factors
 * by itself. The challenge belongs to the interaction and counts once.
 */
import type { Context } from 'koa';
import { z } from 'zod';
import { findAccount, type Account } from '../accounts/account.ts';
import { PASSKEY_METHODS, PASSWORD_METHODS } from '../accounts/authentication_context.ts';
import { AccountChanged, requireEnabledAccount, requireUnchangedAccount } from '../accounts/password_check.ts';
import type { UnitOfWork } from '../audit/unit_of_work.ts';
import { usePasskey, type Assertion } from '../factors/passkey_ceremonies.ts';
import { readForm } from '../http/form_body.ts';
import { requestOf } from '../http/request_context.ts';
import { finishLogin } from './finish_login.ts';
import { noteFailedSecondStep } from './login_notices.ts';
import type { Step } from './interaction.ts';
import { originOfLogin, type LoginContext } from './login_context.ts';
import { showLogin, showLoginProblem } from './login_step.ts';
import { describeWait } from './messages.ts';
import { loginBinding } from './passkey_form.ts';
import { findFirstStep, type FirstStep } from './proved_password.ts';
import { rememberThisDevice } from './remembered_device.ts';
import { showSecondStep } from './second_step.ts';
import { fill, TEXTS } from './texts/texts.ts';

const PasskeyForm = z.object({
  passkey: z.string().min(1).max(14_000),
  remember: z.literal('on').optional(),
  remember_device: z.literal('on').optional(),
});
type PasskeyForm = z.output<typeof PasskeyForm>;

interface Failure {
  readonly reason: 'unknown_passkey' | 'wrong_passkey' | 'used_passkey' | 'account_disabled';
  readonly accountId?: string | undefined;
  readonly credentialId?: string | undefined;
}

/** The passkey or its challenge was used at the same time by another request. */
class PasskeyUsed extends Error {}

export async function submitPasskey(login: LoginContext, ctx: Context, step: Step): Promise<void> {
  const form = PasskeyForm.safeParse(await readForm(ctx));
  const { address, now } = requestOf(ctx);
  const firstStep = await findFirstStep(login, step.interaction, now);
  if (!form.success || !login.factors.passkeys) return showLogin(login, ctx, step);
  const failure = await tryPasskey(login, ctx, step, firstStep, form.data);
  if (!failure) return;
  const counted = await login.attempts.countWrongPasskey(address);
  if (!counted.admitted) {
    const { retryAfterSeconds } = counted;
    ctx.set('Retry-After', String(retryAfterSeconds));
    const problem = fill(TEXTS.login.throttled, { wait: describeWait(retryAfterSeconds) });
    return showProblem(login, ctx, step, firstStep, { status: 429, problem });
  }
  const { reason, accountId, credentialId } = failure;
  const about = { accountId, clientId: step.clientId, details: { reason } };
  await login.trail.refusals.record(originOfLogin(ctx), { event: 'login.failed', outcome: 'refused', ...about });
  if (firstStep) await noteFailedSecondStep(login, ctx, firstStep.account);
  const isUnknown = reason === 'unknown_passkey';
  await showProblem(login, ctx, step, firstStep, {
    status: 401,
    problem: isUnknown ? TEXTS.passkey.unregistered : TEXTS.passkey.wrong,
    // the browser may then stop offering it
    unknownCredential: isUnknown ? credentialId : undefined,
  });
}

/** Finishes the login if the passkey is right; else returns why not. */
async function tryPasskey(
  login: LoginContext,
  ctx: Context,
  step: Step,
  firstStep: FirstStep | undefined,
  form: PasskeyForm,
): Promise<Failure | undefined> {
  const { now } = requestOf(ctx);
  const binding = loginBinding(step.interaction.uid);
  const outcome = await login.factors.passkeys!.verifyAssertion(login.database, form.passkey, binding, now);
  if (!outcome.assertion) return outcome;
  const { accountId, credentialId } = outcome.assertion.passkey;
  const account = await findAccount(login.database, accountId);
  if (!account || account.disabledAt) return { reason: 'account_disabled', accountId };
  // a passkey of another account is a login of its own
  const second = firstStep?.account.accountId === accountId ? firstStep : undefined;
  const remember = second ? second.remember : form.remember === 'on';
  const amr = [...(second ? PASSWORD_METHODS : []), ...PASSKEY_METHODS];
  const proof = { credential: 'passkey', reference: outcome.assertion.passkey.passkeyId };
  const use = useOf(login, ctx, account, second, outcome.assertion, form);
  try {
    await finishLogin(login, ctx, step, { account, amr, remember, ...(!second && { proof }), use });
    return undefined;
  } catch (error) {
    if (error instanceof PasskeyUsed) return { reason: 'used_passkey', accountId, credentialId };
    if (error instanceof AccountChanged) return { reason: 'account_disabled', accountId };
    throw error;
  }
}

function useOf(
  login: LoginContext,
  ctx: Context,
  account: Account,
  second: FirstStep | undefined,
  assertion: Assertion,
  form: PasskeyForm,
): (work: UnitOfWork) => Promise<void> {
  return async (work) => {
    await (second ? requireUnchangedAccount(work.tx, account) : requireEnabledAccount(work.tx, account));
    if (!(await usePasskey(work, assertion))) throw new PasskeyUsed();
    if (second && form.remember_device) await rememberThisDevice(login, ctx, work, account.accountId);
  };
}

interface Problem {
  readonly status: number;
  readonly problem: string;
  readonly unknownCredential?: string | undefined;
}

function showProblem(
  login: LoginContext,
  ctx: Context,
  step: Step,
  firstStep: FirstStep | undefined,
  { status, problem, unknownCredential }: Problem,
): Promise<void> {
  if (firstStep) return showSecondStep(login, ctx, step, firstStep, { status, problem });
  return showLoginProblem(login, ctx, step, { status, problem, unknownCredential });
}
