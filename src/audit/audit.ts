/**
 * The audit trail records, as evidence, who did what. Each event is written together with the change that
 * it describes. The entries form streams that are chained by hashes (chain.ts) and covered by signed checkpoints
 * (checkpoints.ts), so that a verifier finds entries that were altered or removed (verifier.ts). Months that are older
 * than the retention time are dropped (upkeep.ts).
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
  /** The connection of the user who owns the tables; `undefined` if that is the user of `database`. */
  readonly ownerDatabaseUrl: string | undefined;
  readonly auditKeys: AuditKeys;
  readonly outage: Outage;
  /** Returns the identity of the database that answers (db/identity.ts); `undefined` before the start. */
  readonly identity: () => string | undefined;
  /** Returns the network of an address, for counting refusals. */
  readonly networkOf: (address: string) => string;
  /** The number of days after which entries may be dropped; 0 keeps all entries. */
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
  // the fields of audit events contain no secrets, and searching them for secrets would slow down each token request
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
    // the new checkpoint records soon which entries the other database lacks
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
