/** All factors of one account: which login is the strongest, and how an admin resets them. */
import { lockAccount } from '../accounts/account.ts';
import { acrOf, RECOVERY_CODE_METHOD, satisfies } from '../accounts/authentication_context.ts';
import { MFA_ACR, PASSWORD_ACR, PHISHING_RESISTANT_ACR } from '../base/acr_values.ts';
import type { Reader } from '../db/connection.ts';
import { endOlderLogins, type FactorWork } from './factor_changes.ts';
import { endFactorNeed, findFactorNeed, type FactorNeed } from './factor_needs.ts';
import { listPasskeys, removePasskey, type Passkey } from './passkey_rows.ts';
import { countRecoveryCodes, removeRecoveryCodes, type RecoveryCodeCount } from './recovery_codes.ts';
import { findTotp, removeTotp, type StoredTotp } from './totp.ts';

export interface AccountFactors {
  readonly totp: StoredTotp | undefined;
  readonly passkeys: readonly Passkey[];
  readonly recoveryCodes: RecoveryCodeCount;
  /** What a login needs although the account may have no second factor. */
  readonly need: FactorNeed | undefined;
}

/** `passkeys`: whether this server offers passkeys. Those of an account count only then. */
export async function readFactors(
  reader: Reader,
  accountId: string,
  { passkeys, now }: { readonly passkeys: boolean; readonly now: Date },
): Promise<AccountFactors> {
  return {
    totp: await findTotp(reader, accountId),
    passkeys: passkeys ? await listPasskeys(reader, accountId) : [],
    recoveryCodes: await countRecoveryCodes(reader, accountId, now),
    // after the factors: the transaction that removes the last one stores the need
    need: await findFactorNeed(reader, accountId),
  };
}

/** Whether the account has a factor besides its password. Recovery codes alone are none. */
export function hasSecondFactor({ totp, passkeys }: AccountFactors): boolean {
  return totp !== undefined || passkeys.length > 0;
}

/** The context of the strongest login of the account. */
export function strongestAcr({ totp, passkeys }: AccountFactors): string {
  if (passkeys.length > 0) return PHISHING_RESISTANT_ACR;
  return totp ? MFA_ACR : PASSWORD_ACR;
}

/**
 * Whether a login with these methods may add a factor. A recovery code replaces a lost factor here, and only here: it
 * removes none. `required`: the context that each login of the account needs; a weaker login proves too little.
 */
export function mayEnrol(factors: AccountFactors, amr: readonly string[], required: string | undefined): boolean {
  if (amr.includes(RECOVERY_CODE_METHOD)) return true;
  return mayRemove(factors, amr) && (required === undefined || satisfies(acrOf(amr), required));
}

/** Whether a login with these methods is the strongest of the account. */
export function mayRemove(factors: AccountFactors, amr: readonly string[]): boolean {
  return satisfies(acrOf(amr), strongestAcr(factors));
}

/**
 * Removes all factors of the account besides its password, and what a report left, and ends its sessions. Returns how
 * many were removed.
 */
export async function resetFactors(work: FactorWork, accountId: string): Promise<number> {
  await lockAccount(work.tx, accountId);
  await endFactorNeed(work.tx, accountId);
  let removed = 0;
  if (await removeTotp(work, accountId)) removed += 1;
  for (const { passkeyId } of await listPasskeys(work.tx, accountId)) {
    if (await removePasskey(work, accountId, passkeyId)) removed += 1;
  }
  if (await removeRecoveryCodes(work, accountId)) removed += 1;
  if (removed > 0) await endOlderLogins(work, accountId, undefined);
  return removed;
}

/** Removes one factor: `totp`, `recovery_codes`, or a passkey by its id. Ends all sessions but `exceptSession`. */
export async function removeFactor(
  work: FactorWork,
  accountId: string,
  factorId: string,
  exceptSession: string | undefined,
): Promise<boolean> {
  await lockAccount(work.tx, accountId);
  const removed =
    factorId === 'totp'
      ? await removeTotp(work, accountId)
      : factorId === 'recovery_codes'
        ? await removeRecoveryCodes(work, accountId)
        : await removePasskey(work, accountId, factorId);
  if (removed) await endOlderLogins(work, accountId, exceptSession);
  return removed;
}
