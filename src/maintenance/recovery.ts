/**
 * After a restore or a fail-over that lost changes: what was revoked, used or ended since lives again, and what was given
 * since is unknown. So everything that was given is ended, whether it is known or not: every client gets another token
 * generation, so that no earlier access token passes introspection, and sessions, grants and all that hangs on them go.
 * Nodes may be up meanwhile. It goes in batches, each a transaction; after a failure it is simply run again.
 */
import { sql, type RawBuilder } from 'kysely';
import { SYSTEM } from '../audit/events.ts';
import type { AuditTrail } from '../audit/trail.ts';
import { recordChanges, type Topic } from '../invalidation/log.ts';
import type { Database, Tx } from '../db/connection.ts';
import { transact } from '../db/transaction.ts';
import type { KeyRotation } from '../keys/rotation.ts';
import { listKeys } from '../keys/signing_key.ts';

export interface RecoverySettings {
  readonly database: Database;
  readonly trail: AuditTrail;
  readonly rotation: KeyRotation;
}

export interface RecoveryRequest {
  readonly reason: string;
  /** Sessions, grants and refresh tokens stay; access tokens end all the same. */
  readonly keepLogins: boolean;
  /** New signing keys: APIs that verify by themselves refuse what was signed before as soon as they read JWKS again. */
  readonly rotateKeys: boolean;
}

export interface Recovered {
  readonly clients: number;
  readonly grants: number;
  readonly sessions: number;
  readonly initialAccessTokens: number;
  readonly keys: number;
}

const BATCH = 1_000;
/** As large as those that clients begin with: it must not be one that a client had in the time that was lost. */
const GENERATIONS = 2 ** 30;
/** Each makes nodes read all of its kind anew; a policy's change drops all clients, since it is a part of them. */
const EVERYTHING: readonly Topic[] = [
  'registration_policy',
  'resource',
  'authorization_details_type',
  'trusted_issuer',
  'signing_keys',
];

/** Everything that was given until `now`; `now` should be the present. */
export async function recover(
  { database, trail, rotation }: RecoverySettings,
  { reason, keepLogins, rotateKeys }: RecoveryRequest,
  now: Date,
): Promise<Recovered> {
  await transact(database, (tx) => {
    const details = { reason, keeps_logins: keepLogins, rotates_keys: rotateKeys };
    return trail.recordIn(tx, SYSTEM, { event: 'recovery.began', outcome: 'success', details });
  });
  const clients = await raiseGenerations(database);
  await transact(database, (tx) => readEverythingAnew(tx, now));
  const initialAccessTokens = await endInitialAccessTokens(database, now);
  // sessions first: nothing new can come from one that is gone
  const sessions = keepLogins ? 0 : await remove(database, 'artifacts', sql`kind = 'Session' and created_at <= ${now}`);
  const grants = keepLogins ? 0 : await endGrants(database);
  const keys = rotateKeys ? await replaceKeys(database, rotation, reason) : 0;
  const recovered = { clients, grants, sessions, initialAccessTokens, keys };
  await transact(database, async (tx) => {
    const details = { reason, clients, grants, sessions, initial_access_tokens: initialAccessTokens, keys };
    await trail.recordIn(tx, SYSTEM, { event: 'recovery.completed', outcome: 'success', details });
    await readEverythingAnew(tx, now);
  });
  return recovered;
}

/** In the order of their names, so that a change of a client under way is waited for and not met half-way. */
async function raiseGenerations(database: Database): Promise<number> {
  let after = '';
  let raised = 0;
  for (;;) {
    const { rows } = await transact(database, (tx) =>
      sql<{ client_id: string }>`with batch as (
          select client_id from clients where client_id > ${after} order by client_id limit ${BATCH} for update)
        update clients c set token_generation = 1 + floor(random() * ${GENERATIONS}::int)::int
        from batch where c.client_id = batch.client_id returning c.client_id`.execute(tx),
    );
    raised += rows.length;
    if (rows.length === 0) return raised;
    after = rows.map(({ client_id }) => client_id).reduce((last, one) => (one > last ? one : last));
  }
}

/** How often one was used since is not known. */
async function endInitialAccessTokens(database: Database, now: Date): Promise<number> {
  const { numUpdatedRows } = await database
    .updateTable('initial_access_tokens')
    .set({ revoked_at: now })
    .where('revoked_at', 'is', null)
    .where('expires_at', '>', now)
    .where('uses_left', '>', 0)
    .executeTakeFirst();
  return Number(numUpdatedRows);
}

/** Grants before what hangs on them, as those do who trade one of their tokens; then what hangs on none. */
async function endGrants(database: Database): Promise<number> {
  const until = new Date();
  const grants = await remove(database, 'grants', sql`created_at <= ${until}`);
  for (const table of ['device_codes', 'backchannel_requests'])
    await remove(database, table, sql`created_at <= ${until}`);
  // who has logged in meanwhile stays so
  await remove(database, 'artifacts', sql`created_at <= ${until} and kind <> 'Session'`);
  return grants;
}

async function remove(database: Database, table: string, which: RawBuilder<unknown>): Promise<number> {
  for (let removed = 0; ;) {
    const { numAffectedRows = 0n } = await transact(database, (tx) =>
      sql`delete from ${sql.table(table)} where ctid = any(array(
        select ctid from ${sql.table(table)} where ${which} limit ${BATCH} for update))`.execute(tx),
    );
    if (numAffectedRows === 0n) return removed;
    removed += Number(numAffectedRows);
  }
}

/**
 * Twice for each: the key that was to sign next may have signed in the time that was lost. Keys that have signed before
 * go, too, with what they verify.
 */
async function replaceKeys(database: Database, rotation: KeyRotation, reason: string): Promise<number> {
  const algs = new Set((await listKeys(database)).map(({ alg }) => alg));
  for (const alg of algs) {
    const request = { alg, reason, emergency: true };
    await rotation.rotate(request, SYSTEM, new Date());
    await rotation.rotate(request, SYSTEM, new Date());
  }
  await rotation.removePrevious(new Date());
  return algs.size;
}

function readEverythingAnew(tx: Tx, now: Date): Promise<void> {
  return recordChanges(
    tx,
    EVERYTHING.map((topic) => ({ topic, key: '*' })),
    now,
  );
}
