/** Passkeys as they are stored: several for each account, each with a name, its counter and its backup state. */
import { lockAccount } from '../accounts/account.ts';
import { randomId } from '../base/ids.ts';
import { conflict } from '../base/refusal.ts';
import type { UnitOfWork } from '../audit/unit_of_work.ts';
import type { Reader } from '../db/connection.ts';
import { endOlderLogins, recordFactorChange, type FactorWork } from './factor_changes.ts';
import { credentialsBefore } from './factor_references.ts';

const PASSKEYS_OF_AN_ACCOUNT_AT_MOST = 20;

export interface Passkey {
  /** Names the passkey in forms and in the admin API. */
  readonly passkeyId: string;
  /** In base64url, as the authenticator knows it. */
  readonly credentialId: string;
  readonly accountId: string;
  readonly name: string;
  readonly publicKey: Buffer;
  readonly counter: number;
  readonly transports: readonly string[];
  readonly aaguid: string;
  readonly backupEligible: boolean;
  readonly backedUp: boolean;
  readonly createdAt: Date;
  readonly lastUsedAt: Date | null;
}

export type NewPasskey = Omit<Passkey, 'passkeyId' | 'accountId' | 'createdAt' | 'lastUsedAt'>;

/** The passkeys of an account, the oldest first. */
export async function listPasskeys(reader: Reader, accountId: string): Promise<Passkey[]> {
  const rows = await reader
    .selectFrom('passkeys')
    .selectAll()
    .where('account_id', '=', accountId)
    .orderBy('created_at')
    .orderBy('passkey_id')
    .execute();
  return rows.map(toPasskey);
}

export async function findPasskey(reader: Reader, credentialId: string): Promise<Passkey | undefined> {
  const row = await reader
    .selectFrom('passkeys')
    .selectAll()
    .where('credential_id', '=', credentialId)
    .executeTakeFirst();
  return row && toPasskey(row);
}

/** Adds a passkey. Refuses with `conflict` one that is stored, and one too many. */
export async function addPasskey(
  work: FactorWork,
  accountId: string,
  passkey: NewPasskey,
  session: string,
): Promise<string> {
  const { tx, now } = work;
  const before = await credentialsBefore(tx, await lockAccount(tx, accountId));
  const existing = await listPasskeys(tx, accountId);
  if (existing.length >= PASSKEYS_OF_AN_ACCOUNT_AT_MOST)
    throw conflict(`You have ${existing.length} passkeys. Remove one before you add another.`);
  const passkeyId = randomId('passkey');
  const row = await tx
    .insertInto('passkeys')
    .values({
      passkey_id: passkeyId,
      credential_id: passkey.credentialId,
      account_id: accountId,
      name: passkey.name,
      public_key: passkey.publicKey,
      counter: passkey.counter,
      transports: [...passkey.transports],
      aaguid: passkey.aaguid,
      backup_eligible: passkey.backupEligible,
      backed_up: passkey.backedUp,
      created_at: now,
      last_used_at: null,
    })
    .onConflict((clash) => clash.doNothing())
    .returning('passkey_id')
    .executeTakeFirst();
  if (!row) throw conflict('This passkey is registered already.');
  const details = {
    factor: 'passkey',
    factor_id: passkeyId,
    aaguid: passkey.aaguid,
    backed_up: passkey.backedUp,
  } as const;
  const which = { reference: passkeyId, before };
  await recordFactorChange(work, accountId, { event: 'factor.added', outcome: 'success', details }, which);
  await endOlderLogins(work, accountId, session);
  return passkeyId;
}

/** Returns whether the account had the passkey. */
export async function renamePasskey(
  work: FactorWork,
  accountId: string,
  passkeyId: string,
  name: string,
): Promise<boolean> {
  const { numUpdatedRows } = await work.tx
    .updateTable('passkeys')
    .set({ name })
    .where('account_id', '=', accountId)
    .where('passkey_id', '=', passkeyId)
    .executeTakeFirst();
  if (numUpdatedRows === 0n) return false;
  const details = { factor: 'passkey', factor_id: passkeyId } as const;
  await recordFactorChange(work, accountId, { event: 'factor.renamed', outcome: 'success', details }, {});
  return true;
}

/** Returns whether the account had the passkey. */
export async function removePasskey(work: FactorWork, accountId: string, passkeyId: string): Promise<boolean> {
  const { numDeletedRows } = await work.tx
    .deleteFrom('passkeys')
    .where('account_id', '=', accountId)
    .where('passkey_id', '=', passkeyId)
    .executeTakeFirst();
  if (numDeletedRows === 0n) return false;
  const details = { factor: 'passkey', factor_id: passkeyId } as const;
  const which = { reference: passkeyId };
  await recordFactorChange(work, accountId, { event: 'factor.removed', outcome: 'success', details }, which);
  return true;
}

/**
 * Notes the use of a passkey. Returns false if the passkey was removed, or if its counter did not grow (WebAuthn, 7.2,
 * step 22): then two copies of it may be in use. Authenticators without a counter always send 0.
 */
export async function notePasskeyUse(
  { tx, now }: UnitOfWork,
  { credentialId }: Passkey,
  { counter, backedUp }: { readonly counter: number; readonly backedUp: boolean },
): Promise<boolean> {
  const { numUpdatedRows } = await tx
    .updateTable('passkeys')
    .set({ counter, backed_up: backedUp, last_used_at: now })
    .where('credential_id', '=', credentialId)
    .where(({ or, and, eb }) => or([eb('counter', '<', counter), and([eb('counter', '=', 0), eb.lit(counter === 0)])]))
    .executeTakeFirst();
  return numUpdatedRows === 1n;
}

interface Row {
  readonly credential_id: string;
  readonly passkey_id: string;
  readonly account_id: string;
  readonly name: string;
  readonly public_key: Buffer;
  readonly counter: number;
  readonly transports: string[];
  readonly aaguid: string;
  readonly backup_eligible: boolean;
  readonly backed_up: boolean;
  readonly created_at: Date;
  readonly last_used_at: Date | null;
}

function toPasskey(row: Row): Passkey {
  return {
    passkeyId: row.passkey_id,
    credentialId: row.credential_id,
    accountId: row.account_id,
    name: row.name,
    publicKey: row.public_key,
    counter: row.counter,
    transports: row.transports,
    aaguid: row.aaguid,
    backupEligible: row.backup_eligible,
    backedUp: row.backed_up,
    createdAt: row.created_at,
    lastUsedAt: row.last_used_at,
  };
}
