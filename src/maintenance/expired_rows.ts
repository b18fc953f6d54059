/**
 * Removes what has expired, a small batch at a time, passing over rows that a request or another node is holding. A
 * batch is one short statement that waits for nobody; after it the database gets a rest of the same length. So long as
 * there is more it goes on, table by table in turn, up to a minute: far more rows than requests can make in that time.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { sql, type RawBuilder } from 'kysely';
import { addSeconds, DAY_SECONDS } from '../base/clock.ts';
import type { Database } from '../db/connection.ts';

/** Some ten milliseconds' work. */
const BATCH = 500;
const RUN_MILLISECONDS = 60_000;

/** Longer than a node may be blind before it forgets its caches (see changes/change_follower.ts). */
const CHANGES_KEPT_SECONDS = 3_600;
/** So that a device that polls late still hears that its code has expired (RFC 8628, 3.5). */
const DEVICE_CODES_KEPT_SECONDS = 600;
/** The same for a client that asked a person, and for counting how often it did (oidc/backchannel_requests.ts). */
const BACKCHANNEL_REQUESTS_KEPT_SECONDS = 600;
/** So that an admin still sees which token a client came with. */
const INITIAL_ACCESS_TOKENS_KEPT_SECONDS = 90 * DAY_SECONDS;
/** So that an admin still sees what a client had. */
const ENDED_SECRETS_KEPT_SECONDS = 90 * DAY_SECONDS;

interface Expired {
  readonly table: string;
  /** What an index has in order: the oldest come first, and no look goes further than they do. */
  readonly by: RawBuilder<unknown>;
  readonly before: Date | number;
  readonly only?: RawBuilder<unknown>;
}

export interface Run {
  /** How many rows went. */
  readonly removed: number;
  /** Whether nothing is left that could have gone. */
  readonly done: boolean;
}

/** Safe on any number of nodes at once. With an aborted signal it ends after the batch under way. */
export async function removeExpiredRows(
  database: Database,
  now: Date,
  { signal, milliseconds = RUN_MILLISECONDS }: { signal?: AbortSignal; milliseconds?: number } = {},
): Promise<Run> {
  const until = performance.now() + milliseconds;
  let left = expiredAt(now);
  let removed = 0;
  while (left.length > 0) {
    const more: Expired[] = [];
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

function expiredAt(now: Date): readonly Expired[] {
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
    // attempts may be under way for a moment longer than the window in which they began
    { table: 'attempt_counters', by: sql`window_ends_at`, before: before(60) },
    { table: 'known_logins', by: expiry, before: now },
    { table: 'initial_access_tokens', by: expiry, before: before(INITIAL_ACCESS_TOKENS_KEPT_SECONDS) },
    { table: 'client_secrets', by: sql`least(ended_at, expires_at)`, before: before(ENDED_SECRETS_KEPT_SECONDS) },
  ];
}

async function removeBatch(database: Database, { table, by, before, only = sql`true` }: Expired): Promise<number> {
  const { numAffectedRows = 0n } = await sql`delete from ${sql.table(table)} where ctid = any(array(
    select ctid from ${sql.table(table)} where ${by} < ${before} and ${only} order by ${by}
    limit ${BATCH} for update skip locked))`.execute(database);
  return Number(numAffectedRows);
}
