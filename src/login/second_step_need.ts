/** Decides whether a login needs a second step after the right password, and which factors satisfy it. */
import type { Account } from '../accounts/account.ts';
import { satisfies } from '../accounts/authentication_context.ts';
import { MFA_ACR, PASSWORD_ACR } from '../base/acr_values.ts';
import { hasSecondFactor, strongestAcr, type AccountFactors } from '../factors/account_factors.ts';
import { isOpen } from '../factors/factor_needs.ts';
import { isOwnPages } from './interaction.ts';
import type { Interaction, LoginContext, LoginDemand } from './login_context.ts';

/** What the login must be for this account: a page that changes factors needs the strongest login that it has. */
export async function demandFor(
  login: LoginContext,
  interaction: Interaction,
  accountId: string,
  factors: AccountFactors,
): Promise<LoginDemand> {
  const demand = await login.demandOf(interaction, accountId);
  const { strongest: isStrongest, enrols } = interaction.prompt.details;
  if (!hasSecondFactor(factors)) {
    const required = enrols === true ? await login.demandOnAccount(accountId) : undefined;
    return required === undefined ? demand : { required, wished: required, isRepeated: true };
  }
  if (isStrongest !== true) return demand;
  const strongest = strongestAcr(factors);
  return { required: strongest, wished: strongest, isRepeated: true };
}

/**
 * Whether the right password is not enough. An account that has a second factor always needs it, except on a remembered
 * device if nothing demands it. One that lost it by a report needs more than a new password.
 */
export function needsSecondStep(
  account: Account,
  factors: AccountFactors,
  { required, wished, isRepeated }: LoginDemand,
  isRemembered: boolean,
): boolean {
  if (!hasSecondFactor(factors)) return !isPasswordEnough(required) || isOpen(factors.need, account);
  return !(isRemembered && !isRepeated && isPasswordEnough(required) && isPasswordEnough(wished));
}

/** Whether a remembered device may spare this person the second step of some login. */
export async function mayBeSpared(login: LoginContext, accountId: string): Promise<boolean> {
  const { required } = await login.demandOf({ params: {} }, accountId);
  return isPasswordEnough(required);
}

/** The factors that the second step takes. */
export interface AcceptedFactors {
  readonly totp: boolean;
  readonly passkey: boolean;
  readonly recoveryCode: boolean;
  /** Whether a recovery code may be one that an admin gave to enrol a factor. */
  readonly enrolmentCode: boolean;
}

/**
 * A recovery code satisfies no demand of an application. On the server's own pages it always counts, because its owner
 * enrols a new factor there; an enrolment code counts nowhere else.
 */
export function acceptedFactors(
  { totp, passkeys, recoveryCodes }: AccountFactors,
  { required }: LoginDemand,
  interaction: Interaction,
): AcceptedFactors {
  const isOwn = isOwnPages(interaction);
  const enrolmentCode = isOwn && recoveryCodes.forEnrolment > 0;
  return {
    totp: totp !== undefined && (required === undefined || satisfies(MFA_ACR, required)),
    passkey: passkeys.length > 0,
    recoveryCode: enrolmentCode || (recoveryCodes.own > 0 && (isPasswordEnough(required) || isOwn)),
    enrolmentCode,
  };
}

function isPasswordEnough(acr: string | undefined): boolean {
  return acr === undefined || satisfies(PASSWORD_ACR, acr);
}
