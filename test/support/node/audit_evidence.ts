/** Exports of the audit trail, what the verifier says of them, and a superuser who tampers with the database in between. */
import assert from 'node:assert/strict';
import { sql, type RawBuilder } from 'kysely';
import type { JWK } from 'jose';
import { IntegrityError } from '../../../src/audit/integrity_error.ts';
import { verifyEvidence, type Proof } from '../../../src/audit/verifier.ts';
import type { Database } from '../../../src/db/connection.ts';
import { Admin } from '../client/admin.ts';
import { requestToken, startGatehouse, type Gatehouse } from './gatehouse.ts';

/** A server with something in its trail: a client that was made and changed, and tokens. */
export async function startWatched(): Promise<Gatehouse> {
  const gatehouse = await startGatehouse();
  const admin = await Admin.of(gatehouse);
  const client = (await admin.post('/clients', { client_name: 'Watched' })).body;
  await admin.patch(`/clients/${client.client_id}`, { client_name: 'Watched on' });
  for (let i = 0; i < 5; i++) await requestToken(gatehouse.url, gatehouse.demo);
  return gatehouse;
}

/** The export as an auditor gets it, through the admin API. */
export async function exportOf(gatehouse: Gatehouse, query = ''): Promise<string> {
  const admin = await Admin.of(gatehouse);
  const { status, text } = await admin.get(`/audit-evidence${query}`);
  if (status !== 200) throw new Error(`No export: ${status} ${text}`);
  return text;
}

export async function keysOf(gatehouse: Gatehouse): Promise<JWK[]> {
  const admin = await Admin.of(gatehouse);
  return (await admin.get('/audit-keys')).body['keys'] as JWK[];
}

async function* linesOf(text: string): AsyncGenerator<string> {
  await Promise.resolve();
  yield* text.split('\n');
}

/** What an export proves; throws the sentence that names what is wrong with it. */
export function proofIn(text: string, keys: readonly JWK[], contains?: string): Promise<Proof> {
  return verifyEvidence(linesOf(text), keys, contains);
}

/** The sentence that names what is wrong with an export; fails where nothing is. */
export async function problemIn(text: string, keys: readonly JWK[], contains?: string): Promise<string> {
  const error: unknown = await proofIn(text, keys, contains).then(
    () => assert.fail('It is proven, although it was tampered with.'),
    (reason: unknown) => reason,
  );
  if (error instanceof IntegrityError) return error.message;
  throw error;
}

/** What everything that is there now proves. */
export async function proofOf(gatehouse: Gatehouse, query = ''): Promise<Proof> {
  return proofIn(await exportOf(gatehouse, query), await keysOf(gatehouse));
}

/** What is wrong with everything that is there now. */
export async function problemOf(gatehouse: Gatehouse): Promise<string> {
  return problemIn(await exportOf(gatehouse), await keysOf(gatehouse));
}

/** Carries out statements as a superuser for whom triggers do not fire. */
export async function tamper(database: Database, ...statements: RawBuilder<unknown>[]): Promise<void> {
  await database.transaction().execute(async (tx) => {
    await sql`set local session_replication_role = replica`.execute(tx);
    for (const statement of statements) {
      const { numAffectedRows } = await statement.execute(tx);
      if (numAffectedRows === 0n) throw new Error('Nothing was tampered with.');
    }
  });
}
