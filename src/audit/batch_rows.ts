/** Entries and the link that covers them, as rows. */
import { storableJson, type Reader, type Tx } from '../db/connection.ts';
import { Unavailable } from '../base/unavailable.ts';
import { PreparedStatement } from '../db/prepared.ts';
import type { AuditKeys } from './audit_keys.ts';
import type { Batch } from './chain.ts';

export type Seals = Pick<AuditKeys, 'seal'>;

/** ONE statement, and one parameter for all entries: the statement stays the same however many there are. */
const INSERT_BATCH = new PreparedStatement(
  'gatehouse_insert_audit_batch',
  `with link as (
      insert into audit_links (stream, number, previous, first_sequence, begins_at, entries, seal)
      values ($1, $2, $3, $4, $5, $6, $7))
    insert into audit_events (stream, sequence, occurred_at, event, outcome, actor_type, actor_id, account_id,
      client_id, address, request_id, details)
    select stream, sequence, occurred_at, event, outcome, actor->>'type', actor->>'id', account_id, client_id,
      address, request_id, details
    from jsonb_to_recordset($8::jsonb) as b(stream uuid, sequence bigint,
      occurred_at timestamptz, event text, outcome text, actor jsonb, account_id text, client_id text, address text,
      request_id text, details jsonb)`,
  notWritten,
);

export async function insertBatch(database: Reader, batch: Batch, keys: Seals): Promise<void> {
  await INSERT_BATCH.execute(database, ...parameters(batch, keys));
}

/** The same as part of a transaction, which fails with `notWritten` where it can't be done. */
export async function insertBatchIn(tx: Tx, batch: Batch, keys: Seals): Promise<void> {
  await INSERT_BATCH.sendIn(tx, ...parameters(batch, keys));
}

/** Whatever the reason, what is not on record is not done; it may work again in a moment. */
export function notWritten(cause: unknown): Unavailable {
  return new Unavailable('The audit trail can not be written.', { cause });
}

function parameters({ text, link, hashes, hash }: Batch, keys: Seals): unknown[] {
  const previous = link.previous && Buffer.from(link.previous, 'base64url');
  const { stream, number, first, begins_at } = link;
  return [stream, number, previous, first, begins_at, hashes, keys.seal(hash), storableJson(text)];
}

/**
 * The same for one that was sent before and may have been carried out, which nobody heard of: its stream is ours alone,
 * so if its link is there already its entries are.
 */
export async function insertBatchOnce(database: Reader, batch: Batch, keys: Seals): Promise<void> {
  try {
    await insertBatch(database, batch, keys);
  } catch (error) {
    if ((error as { code?: unknown }).code !== UNIQUE_VIOLATION) throw error;
  }
}

const UNIQUE_VIOLATION = '23505';
