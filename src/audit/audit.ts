/**
 * The audit trail: who did what, as evidence. Each event is written together with the change that it is about, in
 * streams whose entries are chained by hashes (chain.ts) and named by signed checkpoints (checkpoints.ts), so that a
 * verifier finds entries that were altered or removed (verifier.ts). Months that are older than the retention time are
 * dropped (upkeep.ts).
 */
import type { Clock } from '../base/clock.ts';
import type { Database } from '../db/connection.ts';
import { asOwner } from '../db/roles.ts';
import type { Feature } from '../lifecycle/feature.ts';
import type { Logger } from '../log.ts';
import type { AuditKeys } from './audit_keys.ts';
import { Checkpoints } from './checkpoints.ts';
import { makePartitions } from './partitions.ts';
import { AuditTrail, type Outage } from './trail.ts';
import { keepPartitions } from './upkeep.ts';

export interface AuditSettings {
  readonly database: Database;
  /** The user who owns the tables; `undefined`: the user of `database`. */
  readonly ownerDatabaseUrl: string | undefined;
  readonly auditKeys: AuditKeys;
  readonly outage: Outage;
  /** Which database answers (db/identity.ts); `undefined` before the start. */
  readonly identity: () => string | undefined;
  /** The network that an address belongs to, for counting refusals. */
  readonly networkOf: (address: string) => string;
  /** 0 keeps everything. */
  readonly auditRetentionDays: number;
  readonly auditCheckpointSeconds: number;
  readonly clock: Clock;
  readonly log: Logger;
}

export interface Audit {
  readonly trail: AuditTrail;
  readonly checkpoints: Checkpoints;
  readonly feature: Feature;
}

export async function createAudit(settings: AuditSettings): Promise<Audit> {
  const { database, ownerDatabaseUrl, auditKeys: keys, outage, identity, networkOf, clock, log } = settings;
  const { auditRetentionDays: retentionDays } = settings;
  const now = clock();
  await asOwner(ownerDatabaseUrl, database, (owner) => makePartitions(owner, now)).catch((error: unknown) =>
    log.warn({ error }, 'audit.partitions_not_made'),
  );
  // the fields of an audit event hold no secret, and to search each of them for one would slow down every token
  const auditLog = log.child({ stream: 'audit' }, { redact: [] });
  const trail = new AuditTrail({ database, keys, log: auditLog, clock, identity, outage, networkOf });
  const checkpoints = new Checkpoints({ database, keys, trail, clock, log, retentionDays });
  return { trail, checkpoints, feature: auditFeature(settings, trail, checkpoints) };
}

function auditFeature(
  { database, ownerDatabaseUrl, auditRetentionDays, auditCheckpointSeconds, clock, log }: AuditSettings,
  trail: AuditTrail,
  checkpoints: Checkpoints,
): Feature {
  const makeCheckpoint = (): Promise<void> =>
    checkpoints.make().catch((error: unknown) => log.warn({ error }, 'audit.checkpoint_not_made'));
  return {
    jobs: [
      {
        name: 'audit_partitions',
        everyMilliseconds: 600_000,
        oncePerNode: true,
        run: () =>
          asOwner(ownerDatabaseUrl, database, (owner) => keepPartitions(owner, trail, clock(), auditRetentionDays)),
      },
      { name: 'repeated_refusals', everyMilliseconds: 60_000, run: () => trail.refusals.write() },
      { name: 'audit_checkpoint', everyMilliseconds: auditCheckpointSeconds * 1000, run: () => checkpoints.make() },
    ],
    showMetrics(metrics) {
      metrics.gauge(
        'gatehouse_audit_events_waiting',
        'Requests whose audit events are not written yet.',
        () => trail.waiting,
      );
      metrics.gauge(
        'gatehouse_audit_checkpoint_age_seconds',
        'How long ago this node last saw to it that every audit entry is under a signed checkpoint.',
        () => checkpoints.ageMilliseconds() / 1000,
        'max',
      );
    },
    // the entries that the other database lacks are recorded soon
    onDatabaseReplaced: () => void makeCheckpoint(),
    async stop() {
      await trail.refusals
        .write(true)
        .catch((error: unknown) =>
          log.warn({ error, refusals: trail.refusals.waiting }, 'audit.repeated_refusals_lost'),
        );
      await makeCheckpoint();
    },
  };
}
