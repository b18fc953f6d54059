/** The trail's months: those to come are made, and those that are old enough are dropped. It takes the tables' owner. */
import type { Database } from '../db/connection.ts';
import { retainedFrom } from './checkpoints.ts';
import { dropPartitions, makePartitions } from './partitions.ts';
import type { AuditTrail } from './trail.ts';

/** `retentionDays` 0 keeps everything. */
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
