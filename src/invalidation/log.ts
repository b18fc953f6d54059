/**
 * How nodes hear of a change. Whoever changes something that nodes cache appends a row in the same transaction;
 * every node reads the tail of the log twice a second and drops what is named. NOTIFY only makes that sooner.
 */
import type { Tx } from '../db/connection.ts';
import { sendIn } from '../db/pipeline.ts';
import { PreparedStatement } from '../db/prepared.ts';

/** What kind of thing changed; `key` names which one. */
export type Topic =
  | 'client'
  | 'resource'
  | 'authorization_details_type'
  | 'registration_policy'
  | 'signing_keys'
  | 'revoked_token'
  | 'trusted_issuer'
  | 'outbox';

export interface Change {
  readonly topic: Topic;
  readonly key: string;
}

/** The channel that wakes readers. Its payload is empty: the log is what is true. */
export const CHANNEL = 'gatehouse_changes';

const NOTIFY = new PreparedStatement('gatehouse_notify', `select pg_notify('${CHANNEL}', '')`);

export function recordChange(tx: Tx, change: Change, now: Date): Promise<void> {
  return recordChanges(tx, [change], now);
}

export async function recordChanges(tx: Tx, changes: readonly Change[], now: Date): Promise<void> {
  const rows = changes.map((change) => ({ ...change, recorded_at: now }));
  await sendIn(tx, tx.insertInto('changes').values(rows));
  await NOTIFY.sendIn(tx);
}
