/** Removes what has expired, a small batch at a time, passing over rows that a request or another node is holding. */
import { sql, type RawBuilder } from 'kysely';
import { addSeconds, DAY_SECONDS } from '../base/clock.ts';
import type { Database } from '../db/connection.ts';

const BATCH = 500;
const BATCHES_AT_ONCE = 20;

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

/** Answers how many rows went. Safe on any number of nodes at once. */
export async function removeExpiredRows(database: Database, now: Date): Promise<number> {
  const before = (seconds: number): Date => addSeconds(now, -seconds);
  const expired: readonly [table: string, condition: RawBuilder<unknown>][] = [
    ['artifacts', sql`expires_at < ${before(60)}`],
    ['device_codes', sql`expires_at < ${before(DEVICE_CODES_KEPT_SECONDS)}`],
    ['backchannel_requests', sql`expires_at < ${before(BACKCHANNEL_REQUESTS_KEPT_SECONDS)}`],
    ['grants', sql`expires_at < ${before(60)}`],
    ['used_once', sql`expires_at < ${before(60)}`],
    ['revoked_tokens', sql`expires_at < ${before(60)}`],
    ['changes', sql`recorded_at < ${before(CHANGES_KEPT_SECONDS)}`],
    ['idempotency_keys', sql`created_at < ${before(DAY_SECONDS)}`],
    ['outbox', sql`failed_at is not null and expires_at < ${now}`],
    ['failed_attempts', sql`expire < ${now.getTime()}`],
    ['initial_access_tokens', sql`expires_at < ${before(INITIAL_ACCESS_TOKENS_KEPT_SECONDS)}`],
    ['client_secrets', sql`least(ended_at, expires_at) < ${before(ENDED_SECRETS_KEPT_SECONDS)}`],
  ];
  let removed = 0;
  for (const [table, condition] of expired) removed += await removeFrom(database, table, condition);
  return removed;
}

async function removeFrom(database: Database, table: string, condition: RawBuilder<unknown>): Promise<number> {
  let removed = 0;
  for (let batch = 0; batch < BATCHES_AT_ONCE; batch++) {
    const { numAffectedRows = 0n } = await sql`delete from ${sql.table(table)} where ctid = any(array(
      select ctid from ${sql.table(table)} where ${condition} limit ${BATCH} for update skip locked))`.execute(
      database,
    );
    removed += Number(numAffectedRows);
    if (numAffectedRows < BATCH) break;
  }
  return removed;
}
