/**
 * Time-based one-time passwords (RFC 6238) of an authenticator app, one app for each account. The secret is sealed by
 * the vault. A code counts once, on all nodes: one statement moves the account's last used time step forward.
 */
import { Secret as TotpSecret, TOTP } from 'otpauth';
import { lockAccount } from '../accounts/account.ts';
import { epochSeconds } from '../base/clock.ts';
import type { Reader } from '../db/connection.ts';
import type { UnitOfWork } from '../audit/unit_of_work.ts';
import type { DataKey, Vault } from '../vault/vault.ts';
import { endOlderLogins, recordFactorChange, type FactorWork } from './factor_changes.ts';
import { credentialsBefore, referenceTo } from './factor_references.ts';

/** What every authenticator app supports. */
const PARAMETERS = { algorithm: 'SHA1', digits: 6, period: 30 } as const;
const CODE = /^\d{6}$/;
/** RFC 6238, 5.2: a clock may be one step away, and a person needs time to type. */
const WINDOW_STEPS = 1;
/** RFC 4226, 4: 160 bits are recommended. */
const SECRET_BYTES = 20;

export interface StoredTotp {
  readonly accountId: string;
  readonly createdAt: Date;
  readonly lastUsedAt: Date | null;
  readonly dataKeyId: string;
  readonly sealed: Buffer;
}

/** Returns a new secret in base32. */
export function newTotpSecret(): string {
  return new TotpSecret({ size: SECRET_BYTES }).base32;
}

/** The URI that an authenticator app reads from a QR code. */
export function totpUri(
  secret: string,
  { issuer, label }: { readonly issuer: string; readonly label: string },
): string {
  return new TOTP({ ...PARAMETERS, issuer, label, secret }).toString();
}

/** Returns the time step of the code, or `undefined` if it is not a code of this time. */
export function stepOfCode(secret: string, code: string, now: Date): number | undefined {
  // the library throws for six characters that are not ASCII
  if (!CODE.test(code)) return undefined;
  const timestamp = now.getTime();
  const delta = new TOTP({ ...PARAMETERS, secret }).validate({ token: code, timestamp, window: WINDOW_STEPS });
  return delta === null ? undefined : Math.floor(epochSeconds(now) / PARAMETERS.period) + delta;
}

export async function findTotp(reader: Reader, accountId: string): Promise<StoredTotp | undefined> {
  const row = await reader
    .selectFrom('totp_secrets')
    .selectAll()
    .where('account_id', '=', accountId)
    .executeTakeFirst();
  return (
    row && {
      accountId,
      createdAt: row.created_at,
      lastUsedAt: row.last_used_at,
      dataKeyId: row.data_key_id,
      sealed: row.sealed,
    }
  );
}

/** Returns the time step of a code of the stored app, or `undefined` if the code is wrong. */
export async function stepOfStoredCode(
  vault: Vault,
  { accountId, dataKeyId, sealed }: StoredTotp,
  code: string,
  now: Date,
): Promise<number | undefined> {
  const key = await vault.get(dataKeyId);
  return stepOfCode(key.open(sealed, boundTo(accountId)).toString(), code, now);
}

/** Uses the code of a time step. Returns false if a code of this step, or of a later one, was used before. */
export async function useTotpStep({ tx, now }: UnitOfWork, accountId: string, step: number): Promise<boolean> {
  const { numUpdatedRows } = await tx
    .updateTable('totp_secrets')
    .set({ last_step: step, last_used_at: now })
    .where('account_id', '=', accountId)
    .where('last_step', '<', step)
    .executeTakeFirst();
  return numUpdatedRows === 1n;
}

export interface NewTotp {
  readonly secret: string;
  /** The step of the code that confirmed the secret: that code does not log in too. */
  readonly step: number;
  readonly key: DataKey;
}

/** Stores a confirmed secret, in place of an earlier one. */
export async function addTotp(
  work: FactorWork,
  accountId: string,
  { secret, step, key }: NewTotp,
  session: string,
): Promise<void> {
  const { tx, now } = work;
  const before = await credentialsBefore(tx, await lockAccount(tx, accountId));
  const values = {
    data_key_id: key.id,
    sealed: key.seal(Buffer.from(secret), boundTo(accountId)),
    last_step: step,
    created_at: now,
    last_used_at: null,
  };
  await tx
    .insertInto('totp_secrets')
    .values({ account_id: accountId, ...values })
    .onConflict((clash) => clash.column('account_id').doUpdateSet(values))
    .execute();
  await recordFactorChange(
    work,
    accountId,
    { event: 'factor.added', outcome: 'success', details: { factor: 'totp' } },
    { reference: referenceTo('totp', now), before },
  );
  await endOlderLogins(work, accountId, session);
}

/** Removes the app. Returns whether there was one. */
export async function removeTotp(work: FactorWork, accountId: string): Promise<boolean> {
  const removed = await work.tx
    .deleteFrom('totp_secrets')
    .where('account_id', '=', accountId)
    .returning('created_at')
    .executeTakeFirst();
  if (!removed) return false;
  await recordFactorChange(
    work,
    accountId,
    { event: 'factor.removed', outcome: 'success', details: { factor: 'totp' } },
    { reference: referenceTo('totp', removed.created_at) },
  );
  return true;
}

function boundTo(accountId: string): string {
  return `totp ${accountId}`;
}
