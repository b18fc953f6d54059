/**
 * Maintains the trail's monthly partitions: creates future ones and drops old ones. Only the owner of the tables may do
 * this.
 */
import type { Database } from '../db/connection.ts';
import { retainedFrom } from './checkpoints.ts';
import { dropPartitions, makePartitions } from './partitions.ts';
import type { AuditTrail } from './trail.ts';

/** Creates the coming partitions and drops those older than `retentionDays`; 0 keeps all. */
export async function keepPartitions(
  owner: Database,
  trail: AuditTrail,
  now: Date,
  retentionDays: number,
): Promise<void> {
  await makePartitions(owner, now);
  const from = retainedFrom(now, retentionDays);
  if (from) await dropPartitions(owner, trail, from);
}
