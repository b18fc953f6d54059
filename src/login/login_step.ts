/**
 * The login itself. An attempt takes its place in the limits before the password is looked at; a wrong password, an unknown and a
 * disabled account get the same answer in the same time; the true reason is in the audit trail only.
 */
import type { Context } from 'koa';
import { z } from 'zod';
import { findAccount, findAccountByEmail, type Account } from '../accounts/account.ts';
import { acrOf } from '../accounts/authentication_context.ts';
import { demandStillRight, NoLongerRight, type PasswordOutcome } from '../accounts/password_check.ts';
import { readForm } from '../http/form_body.ts';
import { requestOf } from '../http/request_context.ts';
import { isOwnPages, resumeWith, stepPath, type Step } from './interaction.ts';
import { knownBrowser, rememberBrowser } from './known_browser.ts';
import { originOf, type LoginContext } from './dependencies.ts';
import { demandsOtherAccount, describeLoginDemand, describeWait } from './messages.ts';

const EMAIL_LIMIT = 254;

const LoginForm = z.object({
  email: z
    .string()
    .min(1)
    .max(EMAIL_LIMIT)
    .regex(/^[^\p{Cc}]*$/u),
  password: z.string().min(1).max(256),
  remember: z.literal('on').optional(),
});

const INCOMPLETE = 'Enter your e-mail address and your password.';
const WRONG = 'The e-mail address or the password is not right. Check both and try again.';

interface Shown {
  readonly email: string;
  readonly remember: boolean;
  readonly problem?: string;
}

export async function showLogin(room: LoginContext, ctx: Context, step: Step): Promise<void> {
  const another = ctx.query.account === 'another' || demandsOtherAccount(step.interaction.prompt.reasons);
  const email = another ? hintedEmail(step) : ((await currentEmail(room, step)) ?? hintedEmail(step));
  await show(room, ctx, step, 200, { email, remember: false });
}

export async function submitLogin(room: LoginContext, ctx: Context, step: Step): Promise<void> {
  const fields = await readForm(ctx);
  const form = LoginForm.safeParse(fields);
  const remember = fields.remember === 'on';
  if (!form.success) {
    return show(room, ctx, step, 400, {
      email: (fields.email ?? '').slice(0, EMAIL_LIMIT),
      remember,
      problem: INCOMPLETE,
    });
  }
  const { email, password } = form.data;
  const { address, now } = requestOf(ctx);
  const attempted = await room.attempts.attempt(
    { email, place: { address, browser: knownBrowser(room, ctx) }, now },
    () => room.passwords.check(email, password),
    ({ account }) => account !== undefined,
  );
  if (!attempted.admitted) return refuseForNow(room, ctx, step, { email, remember }, attempted.retryAfterSeconds);

  const outcome = attempted.result;
  if (!outcome.account) return refuse(room, ctx, step, { email, remember }, outcome);
  try {
    await finish(room, ctx, step, outcome.account, remember);
  } catch (error) {
    if (!(error instanceof NoLongerRight)) throw error;
    const { accountId } = outcome.account;
    return refuse(room, ctx, step, { email, remember }, { reason: 'wrong_password', accountId });
  }
  await rememberPlace(room, ctx, email);
}

/** The login is done and on record by now: a place that can't be remembered only helps at a later login. */
async function rememberPlace(room: LoginContext, ctx: Context, email: string): Promise<void> {
  const { address, now, id } = requestOf(ctx);
  try {
    const value = await room.attempts.remember(email, { address, browser: knownBrowser(room, ctx) }, now);
    rememberBrowser(room, ctx, value);
  } catch (error) {
    room.log.warn({ error, request_id: id }, 'login.place_not_remembered');
  }
}

async function refuse(
  room: LoginContext,
  ctx: Context,
  step: Step,
  typed: Shown,
  { reason, accountId }: Extract<PasswordOutcome, { reason: string }>,
): Promise<void> {
  const { clientId } = step;
  const about = { accountId, clientId, details: { reason } };
  await room.trail.refusals.record(originOf(ctx), { event: 'login.failed', outcome: 'refused', ...about });
  // 401 tells password managers not to keep this one; no WWW-Authenticate, as no HTTP scheme would get anyone in
  await show(room, ctx, step, 401, { ...typed, problem: WRONG });
}

/** The login and the record of it are on disk together, or neither is. */
function finish(room: LoginContext, ctx: Context, step: Step, account: Account, remember: boolean): Promise<void> {
  const { accountId } = account;
  const { clientId } = step;
  const amr = ['pwd']; // RFC 8176
  const acr = acrOf(amr);
  return resumeWith(room, ctx, originOf(ctx, accountId), async (changes) => {
    changes.add(({ tx }) => demandStillRight(tx, account));
    changes.record({ event: 'login.succeeded', outcome: 'success', accountId, clientId, details: { amr } });
    return { login: { accountId, amr, ...(acr !== undefined && { acr }), remember } };
  });
}

async function refuseForNow(
  room: LoginContext,
  ctx: Context,
  step: Step,
  typed: Shown,
  retryAfterSeconds: number,
): Promise<void> {
  const account = await findAccountByEmail(room.database, typed.email.trim().toLowerCase());
  await room.trail.refusals.record(originOf(ctx), {
    event: 'login.throttled',
    outcome: 'refused',
    accountId: account?.accountId,
    clientId: step.clientId,
    details: { retry_after_seconds: retryAfterSeconds },
  });
  ctx.set('Retry-After', String(retryAfterSeconds));
  const problem = `There were too many attempts to log in. Wait ${describeWait(retryAfterSeconds)}, then try again.`;
  await show(room, ctx, step, 429, { ...typed, problem });
}

async function show(room: LoginContext, ctx: Context, step: Step, status: number, shown: Shown): Promise<void> {
  const { uid, session, prompt } = step.interaction;
  const confirms = shown.email !== '' && shown.email === (await currentEmail(room, step));
  room.views.show(ctx, status, {
    page: 'login',
    application: step.application,
    action: stepPath(room, uid, 'login'),
    cancelAction: isOwnPages(step.interaction) ? undefined : stepPath(room, uid, 'cancel'),
    ...shown,
    ...(session && { demand: describeLoginDemand(prompt.reasons) }),
    ...(confirms && { otherAccountLink: `${stepPath(room, uid)}?account=another` }),
  });
}

/** Who is logged in already and only has to confirm it (`prompt=login`, `max_age`). */
async function currentEmail(room: LoginContext, { interaction }: Step): Promise<string | undefined> {
  if (!interaction.session) return undefined;
  return (await findAccount(room.database, interaction.session.accountId))?.email;
}

/** OpenID Connect Core §3.1.2.1: what the application believes the person's address to be. */
function hintedEmail({ interaction }: Step): string {
  const hint = interaction.params.login_hint;
  return typeof hint === 'string' && hint.length <= EMAIL_LIMIT ? hint : '';
}
