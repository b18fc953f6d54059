/** Entries and the link that covers them, as rows. */
import { sql } from 'kysely';
import { Unavailable } from '../base/unavailable.ts';
import { storableJson, type Reader, type Tx } from '../db/connection.ts';
import { serverStart } from '../db/identity.ts';
import { PreparedStatement } from '../db/prepared.ts';
import type { AuditKeys } from './audit_keys.ts';
import type { Batch } from './chain.ts';

export type Seals = Pick<AuditKeys, 'seal'>;

/**
 * A link that names another one is taken by the run of the server that took that one: after a set-back it would be a link
 * to nothing.
 */
const SAME_RUN = '$9::timestamptz is null or pg_postmaster_start_time() = $9';

const INSERT_LINK = `insert into audit_links (stream, number, previous, first_sequence, begins_at, entries, seal)
      select $1::uuid, $2::bigint, $3::bytea, $4::bigint, $5::timestamptz, $6::bytea, $7::bytea`;

/** ONE statement, and one parameter for all entries: the statement stays the same however many there are. */
const INSERT_BATCH = new PreparedStatement(
  'gatehouse_insert_audit_batch',
  `with link as (${INSERT_LINK} where ${SAME_RUN})
    ${insertEvents('')} where ${SAME_RUN}`,
);

/** The same in a transaction, which does not look at the answer: it divides by zero where it is another run. */
const INSERT_BATCH_IN = new PreparedStatement(
  'gatehouse_insert_audit_batch_in',
  `with link as (${INSERT_LINK} where 1 / (case when ${SAME_RUN} then 1 else 0 end) = 1)
    ${insertEvents('')}`,
  notWritten,
);

/**
 * The text of a statement that changes something and puts it on record. `queries` are what stands behind `with`; the last
 * one is named `effect` and returns one row if the change was made, and none otherwise: then nothing is recorded either.
 * It changes nothing unless `exists (select from same_run)`. Its parameters begin with $10, after those of the trail.
 * The statement affects one row for each entry, or none.
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

/** The trail's part of a statement's parameters. */
export function batchParameters({ text, link, hashes, hash, database }: Batch, keys: Seals): readonly unknown[] {
  const previous = link.previous && Buffer.from(link.previous, 'base64url');
  const { stream, number, first, begins_at } = link;
  const wanted = number > 1 && database !== undefined ? serverStart(database) : null;
  return [stream, number, previous, first, begins_at, hashes, keys.seal(hash), storableJson(text), wanted];
}

/** Nothing was written: the database is not the one that has the link before. */
export class AnotherDatabase extends Unavailable {}

/** Throws `AnotherDatabase`. */
export async function insertBatch(database: Reader, batch: Batch, keys: Seals): Promise<void> {
  const { numAffectedRows } = await INSERT_BATCH.execute(database, ...batchParameters(batch, keys));
  if (numAffectedRows === 0n) throw new AnotherDatabase('The database was set back or started again.');
}

/** The same as part of a transaction, which fails with `notWritten` where it can't be done. */
export async function insertBatchIn(tx: Tx, batch: Batch, keys: Seals): Promise<void> {
  await INSERT_BATCH_IN.sendIn(tx, ...batchParameters(batch, keys));
}

/** The caller must not answer with success. It may try again. */
export function notWritten(cause: unknown): Unavailable {
  return new Unavailable('The audit trail can not be written.', { cause });
}

/**
 * Inserts a batch that was sent before and may have been carried out without an answer. Only this node writes to its
 * stream, so if the link is there already, the entries are.
 */
export async function insertBatchOnce(database: Reader, batch: Batch, keys: Seals): Promise<void> {
  try {
    await insertBatch(database, batch, keys);
  } catch (error) {
    if (error instanceof AnotherDatabase && (await isThere(database, batch))) return;
    if ((error as { code?: unknown }).code !== UNIQUE_VIOLATION) throw error;
  }
}

async function isThere(database: Reader, { link: { stream, number } }: Batch): Promise<boolean> {
  const { rows } = await sql`select from audit_links where stream = ${stream} and number = ${number}`.execute(database);
  return rows.length > 0;
}

const UNIQUE_VIOLATION = '23505';
