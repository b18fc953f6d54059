/**
 * Removes expired rows in small batches, and skips rows that a request or another node has locked. A batch is one short
 * statement that waits for no lock; after it the database rests for the same time. It continues table by table while
 * there are more rows, for up to a minute: that removes far more rows than requests create in that time.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { sql, type RawBuilder } from 'kysely';
import { addSeconds, DAY_SECONDS } from '../base/clock.ts';
import type { Database } from '../db/connection.ts';

/** About ten milliseconds of work. */
const BATCH = 500;
const RUN_MILLISECONDS = 60_000;

/** Longer than a node may miss changes before it drops its caches (see invalidation/follower.ts). */
const CHANGES_KEPT_SECONDS = 3_600;
/** So that a device that polls late still gets `expired_token` (RFC 8628, section 3.5). */
const DEVICE_CODES_KEPT_SECONDS = 600;
/** The same for a CIBA client, and for counting its requests (oidc/ciba/backchannel_request_store.ts). */
const BACKCHANNEL_REQUESTS_KEPT_SECONDS = 600;
/** Longer than the longest window of a limit for logins (limits/login_attempts.ts). */
const UNLOCKS_KEPT_SECONDS = 2 * DAY_SECONDS;
/** So that an admin still sees which token a client used. */
const INITIAL_ACCESS_TOKENS_KEPT_SECONDS = 90 * DAY_SECONDS;
/** So that an admin still sees the secrets of a client. */
const ENDED_SECRETS_KEPT_SECONDS = 90 * DAY_SECONDS;

interface ExpiredRows {
  readonly table: string;
  /** The order of an index: the oldest rows come first, and the scan stops after them. */
  readonly by: RawBuilder<unknown>;
  readonly before: Date | number;
  readonly only?: RawBuilder<unknown>;
}

export interface RemovalResult {
  /** The number of removed rows. */
  readonly removed: number;
  /** Whether no expired row is left. */
  readonly done: boolean;
}

/** Removes expired rows; safe on several nodes at once. After `signal` is aborted, it ends with the current batch. */
export async function removeExpiredRows(
  database: Database,
  now: Date,
  { signal, milliseconds = RUN_MILLISECONDS }: { signal?: AbortSignal; milliseconds?: number } = {},
): Promise<RemovalResult> {
  const until = performance.now() + milliseconds;
  let left = expiredAt(now);
  let removed = 0;
  while (left.length > 0) {
    const more: ExpiredRows[] = [];
    for (const expired of left) {
      const began = performance.now();
      if (began > until || signal?.aborted) return { removed, done: false };
      const went = await removeBatch(database, expired);
      removed += went;
      if (went < BATCH) continue;
      more.push(expired);
      await delay(performance.now() - began);
    }
    left = more;
  }
  return { removed, done: true };
}

function expiredAt(now: Date): readonly ExpiredRows[] {
  const before = (seconds: number): Date => addSeconds(now, -seconds);
  const expiry = sql`expires_at`;
  return [
    { table: 'artifacts', by: expiry, before: before(60) },
    { table: 'device_codes', by: expiry, before: before(DEVICE_CODES_KEPT_SECONDS) },
    { table: 'backchannel_requests', by: expiry, before: before(BACKCHANNEL_REQUESTS_KEPT_SECONDS) },
    { table: 'grants', by: expiry, before: before(60) },
    { table: 'used_once', by: expiry, before: before(60) },
    { table: 'revoked_tokens', by: expiry, before: before(60) },
    { table: 'changes', by: sql`recorded_at`, before: before(CHANGES_KEPT_SECONDS) },
    { table: 'idempotency_keys', by: sql`created_at`, before: before(DAY_SECONDS) },
    { table: 'outbox', by: expiry, before: now, only: sql`failed_at is not null` },
    { table: 'failed_attempts', by: sql`expire`, before: now.getTime() },
    // attempts may run for a moment after their window has ended
    { table: 'attempt_counters', by: sql`window_ends_at`, before: before(60) },
    { table: 'known_logins', by: expiry, before: now },
    { table: 'remembered_devices', by: expiry, before: now },
    { table: 'login_unlocks', by: sql`unlocked_at`, before: before(UNLOCKS_KEPT_SECONDS) },
    { table: 'account_links', by: expiry, before: before(60) },
    { table: 'initial_access_tokens', by: expiry, before: before(INITIAL_ACCESS_TOKENS_KEPT_SECONDS) },
    { table: 'client_secrets', by: sql`least(ended_at, expires_at)`, before: before(ENDED_SECRETS_KEPT_SECONDS) },
  ];
}

async function removeBatch(database: Database, { table, by, before, only = sql`true` }: ExpiredRows): Promise<number> {
  const { numAffectedRows = 0n } = await sql`delete from ${sql.table(table)} where ctid = any(array(
    select ctid from ${sql.table(table)} where ${by} < ${before} and ${only} order by ${by}
    limit ${BATCH} for update skip locked))`.execute(database);
  return Number(numAffectedRows);
}
