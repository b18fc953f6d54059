/** Inserts entries and the link that covers them. */
import { sql } from 'kysely';
import { Unavailable } from '../base/unavailable.ts';
import { storableJson, type Reader, type Tx } from '../db/connection.ts';
import { serverStart } from '../db/identity.ts';
import { PreparedStatement } from '../db/prepared.ts';
import type { AuditKeys } from './audit_keys.ts';
import type { Batch } from './chain.ts';

export type Seals = Pick<AuditKeys, 'seal'>;

/**
 * A link that names a previous one may be stored only by the same run of the server: after a restore or failover the
 * previous link may be missing.
 */
const SAME_RUN = '$9::timestamptz is null or pg_postmaster_start_time() = $9';

const INSERT_LINK = `insert into audit_links (stream, number, previous, first_sequence, begins_at, entries, seal)
      select $1::uuid, $2::bigint, $3::bytea, $4::bigint, $5::timestamptz, $6::bytea, $7::bytea`;

/** ONE statement with one parameter for all entries, so the text is the same for any number of entries. */
const INSERT_BATCH = new PreparedStatement(
  'gatehouse_insert_audit_batch',
  `with link as (${INSERT_LINK} where ${SAME_RUN})
    ${insertEvents('')} where ${SAME_RUN}`,
);

/** The same for a transaction that does not read the result: it divides by zero in another run of the server. */
const INSERT_BATCH_IN = new PreparedStatement(
  'gatehouse_insert_audit_batch_in',
  `with link as (${INSERT_LINK} where 1 / (case when ${SAME_RUN} then 1 else 0 end) = 1)
    ${insertEvents('')}`,
  notWritten,
);

/**
 * The text of a statement that makes a change and records it. `queries` are the queries after `with`. The last one is
 * named `effect` and returns one row if it made the change, else none, and then nothing is recorded. The queries must
 * change nothing unless `exists (select from same_run)`. Their parameters begin with $10, after the trail's. The
 * statement affects one row for each entry, or none.
 */
export function withRecord(queries: string): string {
  return `with same_run as (select where ${SAME_RUN}),
    ${queries},
    link as (${INSERT_LINK} from effect)
    ${insertEvents(', effect')}`;
}

function insertEvents(provided: string): string {
  return `insert into audit_events (stream, sequence, occurred_at, event, outcome, actor_type, actor_id, account_id,
      client_id, address, request_id, details)
    select b.stream, b.sequence, b.occurred_at, b.event, b.outcome, b.actor->>'type', b.actor->>'id', b.account_id,
      b.client_id, b.address, b.request_id, b.details
    from jsonb_to_recordset($8::jsonb) as b(stream uuid, sequence bigint,
      occurred_at timestamptz, event text, outcome text, actor jsonb, account_id text, client_id text, address text,
      request_id text, details jsonb)${provided}`;
}

/** The parameters $1 to $9 of a statement that writes a batch. */
export function batchParameters({ text, link, hashes, hash, database }: Batch, keys: Seals): readonly unknown[] {
  const previous = link.previous && Buffer.from(link.previous, 'base64url');
  const { stream, number, first, begins_at } = link;
  const requiredStart = number > 1 && database !== undefined ? serverStart(database) : null;
  return [stream, number, previous, first, begins_at, hashes, keys.seal(hash), storableJson(text), requiredStart];
}

/** Nothing was written: this database does not have the previous link. */
export class AnotherDatabase extends Unavailable {}

/** Throws `AnotherDatabase` if this database does not have the previous link. */
export async function insertBatch(database: Reader, batch: Batch, keys: Seals): Promise<void> {
  const { numAffectedRows } = await INSERT_BATCH.execute(database, ...batchParameters(batch, keys));
  if (numAffectedRows === 0n) throw new AnotherDatabase('The database was restored or restarted.');
}

/** The same in a transaction, without waiting for the result: the transaction fails with `notWritten` if it fails. */
export async function insertBatchIn(tx: Tx, batch: Batch, keys: Seals): Promise<void> {
  await INSERT_BATCH_IN.sendIn(tx, ...batchParameters(batch, keys));
}

/** The error of an entry that was not written. The caller must not answer with success; it may try again. */
export function notWritten(cause: unknown): Unavailable {
  return new Unavailable('The audit trail can not be written.', { cause });
}

/**
 * Inserts a batch that was sent before and may have been stored. Only this node writes to its stream, so if the link
 * exists, the entries do too.
 */
export async function insertBatchOnce(database: Reader, batch: Batch, keys: Seals): Promise<void> {
  try {
    await insertBatch(database, batch, keys);
  } catch (error) {
    if (error instanceof AnotherDatabase && (await linkExists(database, batch))) return;
    if ((error as { code?: unknown }).code !== UNIQUE_VIOLATION) throw error;
  }
}

async function linkExists(database: Reader, { link: { stream, number } }: Batch): Promise<boolean> {
  const { rows } = await sql`select from audit_links where stream = ${stream} and number = ${number}`.execute(database);
  return rows.length > 0;
}

const UNIQUE_VIOLATION = '23505';
