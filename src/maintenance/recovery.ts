/**
 * Ends all access after a restore or a failover that lost changes: all that was revoked, used or ended since is valid
 * again, and the database does not know what was issued since. So each client gets another token generation, which
 * makes introspection reject all earlier access tokens, and sessions, grants and all rows that belong to them are
 * removed. Nodes may run at the same time. It works in batches, one transaction each; after a failure, run it again.
 */
import { sql, type RawBuilder } from 'kysely';
import { PASSWORD_LINKS, type LinkKind } from '../accounts/links.ts';
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
  /** Keeps sessions, grants and refresh tokens; access tokens end in any case. */
  readonly keepLogins: boolean;
  /** Makes new signing keys: APIs that verify tokens themselves reject earlier ones when they read the JWKS again. */
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
/** As large as initial generations, so that the new one does not equal one that a client had in the lost time. */
const GENERATIONS = 2 ** 30;
/** Each topic makes nodes reload all its objects. The registration policies' topic also drops all clients. */
const EVERYTHING: readonly Topic[] = [
  'registration_policy',
  'resource',
  'authorization_details_type',
  'trusted_issuer',
  'signing_keys',
];

/** The links that let somebody in or move an account. Those that take a change back or report it stay. */
const ENDED_LINKS: readonly LinkKind[] = [...PASSWORD_LINKS, 'email_change'];

/** Ends everything that was issued until `now`, which should be the present. */
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
  await transact(database, (tx) => reloadEverything(tx, now));
  const initialAccessTokens = await endInitialAccessTokens(database, now);
  // sessions first, so that a removed session can not create a new grant
  const sessions = keepLogins ? 0 : await remove(database, 'artifacts', sql`kind = 'Session' and created_at <= ${now}`);
  if (!keepLogins) await endOtherWaysIn(database, now);
  const grants = keepLogins ? 0 : await endGrants(database);
  const keys = rotateKeys ? await replaceKeys(database, rotation, reason) : 0;
  const recovered = { clients, grants, sessions, initialAccessTokens, keys };
  await transact(database, async (tx) => {
    const details = { reason, clients, grants, sessions, initial_access_tokens: initialAccessTokens, keys };
    await trail.recordIn(tx, SYSTEM, { event: 'recovery.completed', outcome: 'success', details });
    await reloadEverything(tx, now);
  });
  return recovered;
}

/** In the order of client ids. The row locks make it wait for a running change of a client. */
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

/** Their number of uses since the restored state is not known. */
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

/** Devices that were forgotten since are remembered again, and links and codes that were used since work again. */
async function endOtherWaysIn(database: Database, now: Date): Promise<void> {
  await remove(database, 'remembered_devices', sql`created_at <= ${now}`);
  await remove(database, 'account_links', sql`created_at <= ${now} and kind = any(${ENDED_LINKS})`);
  await remove(database, 'recovery_codes', sql`created_at <= ${now} and for_enrolment`);
}

/** Removes grants before the rows that belong to them, in the order of a token exchange; then rows without a grant. */
async function endGrants(database: Database): Promise<number> {
  const until = new Date();
  const grants = await remove(database, 'grants', sql`created_at <= ${until}`);
  for (const table of ['device_codes', 'backchannel_requests'])
    await remove(database, table, sql`created_at <= ${until}`);
  // keeps sessions of people who have logged in since
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
 * Rotates each algorithm twice, because the next key may have signed in the lost time. Previous keys are removed too,
 * with the tokens that they verify.
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

function reloadEverything(tx: Tx, now: Date): Promise<void> {
  return recordChanges(
    tx,
    EVERYTHING.map((topic) => ({ topic, key: '*' })),
    now,
  );
}
