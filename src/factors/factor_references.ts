/**
 * Names each factor of an account so that a later one of the same kind has another name. A link in a mail keeps the
 * names of the factors that the account had before the reported change.
 */
import type { Account } from '../accounts/account.ts';
import type { CredentialsBefore } from '../accounts/links.ts';
import { passwordDigest } from '../accounts/password_digest.ts';
import type { Reader } from '../db/connection.ts';
import { findFactorNeed } from './factor_needs.ts';

export interface FactorReference {
  readonly factor: 'totp' | 'passkey' | 'recovery_codes';
  readonly name: string;
  /** When the app was added, or the codes were made. */
  readonly createdAt: Date;
}

/** An account has one app at a time, and makes its codes together. */
export function referenceTo(factor: 'totp' | 'recovery_codes', createdAt: Date): string {
  return `${factor} ${createdAt.toISOString()}`;
}

/** Recovery codes alone are no second factor. */
export function isSecondFactor({ factor }: Pick<FactorReference, 'factor'>): boolean {
  return factor !== 'recovery_codes';
}

/** Also passkeys where this server offers none. */
export async function listReferences(reader: Reader, accountId: string): Promise<readonly FactorReference[]> {
  const apps = await reader
    .selectFrom('totp_secrets')
    .select('created_at')
    .where('account_id', '=', accountId)
    .execute();
  const passkeys = await reader
    .selectFrom('passkeys')
    .select(['passkey_id', 'created_at'])
    .where('account_id', '=', accountId)
    .orderBy('created_at')
    .execute();
  const codes = await reader
    .selectFrom('recovery_codes')
    .select('created_at')
    .distinct()
    .where('account_id', '=', accountId)
    .execute();
  const named = (factor: 'totp' | 'recovery_codes') => (row: { readonly created_at: Date }) => ({
    factor,
    name: referenceTo(factor, row.created_at),
    createdAt: row.created_at,
  });
  return [
    ...apps.map(named('totp')),
    ...passkeys.map((row) => ({ factor: 'passkey' as const, name: row.passkey_id, createdAt: row.created_at })),
    ...codes.map(named('recovery_codes')),
  ];
}

/** What the locked account has before a change of its factors or its address. */
export async function credentialsBefore(reader: Reader, account: Account): Promise<CredentialsBefore> {
  const references = await listReferences(reader, account.accountId);
  const sufficed = !references.some(isSecondFactor) && (await findFactorNeed(reader, account.accountId)) === undefined;
  return { factors: references.map(({ name }) => name), password: sufficed ? passwordDigest(account) : null };
}
