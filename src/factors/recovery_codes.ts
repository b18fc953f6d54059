/**
 * Recovery codes: ten for each account, and codes that an admin gives to an account for its first factor. A code has 120
 * random bits, so a keyed digest is enough to store it (ASVS 5.0, 6.5.2). One statement uses it, so it counts once on
 * all nodes.
 */
import { randomBytes } from 'node:crypto';
import { lockAccount } from '../accounts/account.ts';
import type { Reader } from '../db/connection.ts';
import type { Digest } from '../base/secret.ts';
import { addSeconds, DAY_SECONDS } from '../base/clock.ts';
import type { DataKey, Vault } from '../vault/vault.ts';
import { endOlderLogins, recordFactorChange, type FactorWork } from './factor_changes.ts';
import { credentialsBefore, referenceTo } from './factor_references.ts';

const CODES = 10;
const CODE_CHARACTERS = 24;
/** Without I, L, O and U, which are read as other characters or words (Crockford's base 32). */
const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
const ENROLMENT_CODE_SECONDS = 7 * DAY_SECONDS;

/** Returns new codes, such as `7K3M-9QWE-2RTY-XC4V-H8ND-0PJB`. They are shown once. */
export function newRecoveryCodes(): string[] {
  return Array.from({ length: CODES }, newRecoveryCode);
}

export function newRecoveryCode(): string {
  const characters = [...randomBytes(CODE_CHARACTERS)].map((byte) => ALPHABET.charAt(byte % 32));
  return characters.join('').replaceAll(/(.{4})(?!$)/g, '$1-');
}

/** Returns the code as it was made, from the way in which a person types it; `undefined` if it can be none. */
export function typedRecoveryCode(typed: string): string | undefined {
  const code = typed.toUpperCase().replaceAll(/[\s-]/g, '').replaceAll('O', '0').replaceAll(/[IL]/g, '1');
  return /^[0-9A-HJKMNP-TV-Z]{24}$/.test(code) ? code.replaceAll(/(.{4})(?!$)/g, '$1-') : undefined;
}

/** The unused codes by number: those of the owner, and those of an admin. */
export interface RecoveryCodeCount {
  readonly own: number;
  readonly forEnrolment: number;
  /** When the latest of them were made; `null` if there are none. */
  readonly createdAt: Date | null;
}

export async function countRecoveryCodes(reader: Reader, accountId: string, now: Date): Promise<RecoveryCodeCount> {
  const rows = await reader
    .selectFrom('recovery_codes')
    .select(['for_enrolment', 'created_at', 'expires_at'])
    .where('account_id', '=', accountId)
    .orderBy('created_at', 'desc')
    .execute();
  const live = rows.filter(({ expires_at }) => expires_at === null || expires_at > now);
  const forEnrolment = live.filter(({ for_enrolment }) => for_enrolment).length;
  return { own: live.length - forEnrolment, forEnrolment, createdAt: live[0]?.created_at ?? null };
}

/** Stores the codes in place of the earlier ones of the account, and ends all sessions but `session`. */
export async function replaceRecoveryCodes(
  work: FactorWork,
  accountId: string,
  codes: readonly string[],
  { pepper, session }: { readonly pepper: DataKey; readonly session: string },
): Promise<void> {
  const { tx, now } = work;
  const before = await credentialsBefore(tx, await lockAccount(tx, accountId));
  await tx.deleteFrom('recovery_codes').where('account_id', '=', accountId).execute();
  const rows = codes.map((code) => ({
    account_id: accountId,
    digest: digestOf(pepper, code),
    pepper_id: pepper.id,
    for_enrolment: false,
    created_at: now,
    expires_at: null,
  }));
  await tx.insertInto('recovery_codes').values(rows).execute();
  await recordFactorChange(
    work,
    accountId,
    { event: 'factor.added', outcome: 'success', details: { factor: 'recovery_codes' } },
    { reference: referenceTo('recovery_codes', now), before },
  );
  await endOlderLogins(work, accountId, session);
}

/** Stores one code with which the owner can enrol a factor, and returns when it expires. An earlier one ends. */
export async function storeEnrolmentCode(
  work: FactorWork,
  accountId: string,
  code: string,
  pepper: DataKey,
): Promise<Date> {
  const { tx, now } = work;
  const expiresAt = addSeconds(now, ENROLMENT_CODE_SECONDS);
  await tx.deleteFrom('recovery_codes').where('account_id', '=', accountId).where('for_enrolment', '=', true).execute();
  await tx
    .insertInto('recovery_codes')
    .values({
      account_id: accountId,
      digest: digestOf(pepper, code),
      pepper_id: pepper.id,
      for_enrolment: true,
      created_at: now,
      expires_at: expiresAt,
    })
    .execute();
  const which = { reference: referenceTo('recovery_codes', now) };
  await recordFactorChange(work, accountId, { event: 'recovery_code.issued', outcome: 'success' }, which);
  return expiresAt;
}

/** The digests that the code would have in the rows of the account, one for each pepper. */
export async function digestsOfCode(
  reader: Reader,
  vault: Vault,
  accountId: string,
  code: string,
): Promise<readonly Digest[]> {
  const rows = await reader
    .selectFrom('recovery_codes')
    .select('pepper_id')
    .distinct()
    .where('account_id', '=', accountId)
    .execute();
  return Promise.all(rows.map(async ({ pepper_id }) => digestOf(await vault.get(pepper_id), code)));
}

/**
 * Uses a code. Returns false if the account has no such code, or it was used before. `forEnrolment`: the code may be one
 * that an admin gave.
 */
export async function useRecoveryCode(
  work: FactorWork,
  accountId: string,
  digests: readonly Digest[],
  { forEnrolment }: { readonly forEnrolment: boolean },
): Promise<boolean> {
  const { tx, now } = work;
  if (digests.length === 0) return false;
  const used = await tx
    .deleteFrom('recovery_codes')
    .where('account_id', '=', accountId)
    .where('digest', 'in', [...digests])
    .$if(!forEnrolment, (query) => query.where('for_enrolment', '=', false))
    .where(({ or, eb }) => or([eb('expires_at', 'is', null), eb('expires_at', '>', now)]))
    .returning('created_at')
    .executeTakeFirst();
  if (!used) return false;
  const left = await countRecoveryCodes(tx, accountId, now);
  await recordFactorChange(
    work,
    accountId,
    { event: 'recovery_code.used', outcome: 'success', details: { left: left.own + left.forEnrolment } },
    { reference: referenceTo('recovery_codes', used.created_at) },
  );
  return true;
}

/** Removes the codes of the account, or those that were made at that time. Returns whether there were any. */
export async function removeRecoveryCodes(work: FactorWork, accountId: string, madeAt?: Date): Promise<boolean> {
  const codes = work.tx.deleteFrom('recovery_codes').where('account_id', '=', accountId);
  const chosen = madeAt === undefined ? codes : codes.where('created_at', '=', madeAt);
  const { numDeletedRows } = await chosen.executeTakeFirst();
  if (numDeletedRows === 0n) return false;
  await recordFactorChange(
    work,
    accountId,
    { event: 'factor.removed', outcome: 'success', details: { factor: 'recovery_codes' } },
    {},
  );
  return true;
}

function digestOf(pepper: DataKey, code: string): Digest {
  return pepper.digest(`recovery code ${code}`);
}
