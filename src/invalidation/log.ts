/**
 * The change log, by which nodes learn which cached values to drop. A function that changes a cached object appends a
 * row in the same transaction; each node reads new rows twice a second and drops the named values. NOTIFY only makes
 * this faster.
 */
import type { Tx } from '../db/connection.ts';
import { sendIn } from '../db/pipeline.ts';
import { PreparedStatement } from '../db/prepared.ts';

/** The kind of object that changed; `key` names the object. */
export type Topic =
  | 'client'
  | 'resource'
  | 'role'
  | 'authorization_details_type'
  | 'registration_policy'
  | 'signing_keys'
  | 'revoked_token'
  | 'trusted_issuer'
  | 'outbox';

export interface LoggedChange {
  readonly topic: Topic;
  readonly key: string;
}

/** The channel that wakes readers. Its payload is empty, because readers rely on the log alone. */
export const CHANNEL = 'gatehouse_changes';

const NOTIFY = new PreparedStatement('gatehouse_notify', `select pg_notify('${CHANNEL}', '')`);

export function recordChange(tx: Tx, change: LoggedChange, now: Date): Promise<void> {
  return recordChanges(tx, [change], now);
}

export async function recordChanges(tx: Tx, changes: readonly LoggedChange[], now: Date): Promise<void> {
  const rows = changes.map((change) => ({ ...change, recorded_at: now }));
  await sendIn(tx, tx.insertInto('changes').values(rows));
  await NOTIFY.sendIn(tx);
}
