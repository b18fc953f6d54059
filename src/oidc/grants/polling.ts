/**
 * What applications ask for again and again until a person has decided: device codes (RFC 8628) and backchannel
 * authentication requests (CIBA). One statement finds the row, counts the poll and says whether it came too soon,
 * whichever node it came to; one statement gives away what was approved.
 */
import { errors, type AdapterPayload } from 'oidc-provider';
import { sql, type RawBuilder } from 'kysely';
import type { Digest } from '../../base/secret.ts';
import type { Database, Tx } from '../../db/connection.ts';
import type { TimeOfUse } from '../storage/token_rows.ts';

/** How long to wait between two polls (RFC 8628, 3.5; CIBA, 7.3), and how much longer after each that came too soon. */
export const INTERVAL_SECONDS = 5;
const LONGER_SECONDS = 5;
/** Whoever was told to wait longer so often is not helped by more. */
const LONGEST_INTERVAL_SECONDS = 60;
/** Networks are not clocks: a poll may be that much early. */
const TOLERANCE_SECONDS = 1;

/** Where it is kept, and the column that has the digest of what is polled with. */
export type Polled =
  | { readonly table: 'device_codes'; readonly id: 'device_code' }
  | { readonly table: 'backchannel_requests'; readonly id: 'auth_req_id' };

interface Found {
  readonly payload: AdapterPayload;
  readonly consumed_at: Date | null;
}

/**
 * Polls at the same moment are polls too soon but for one; throws `SlowDown` for those. Another client's poll finds
 * nothing and counts for nothing.
 */
export async function countPoll(
  database: Database,
  { table, id }: Polled,
  { digest, clientId, now }: { readonly digest: Digest; readonly clientId: string; readonly now: Date },
): Promise<Found | undefined> {
  const tooSoon = sql<boolean>`coalesce(expires_at > ${now}::timestamptz
    and polled_at + make_interval(secs => interval_seconds - ${TOLERANCE_SECONDS}::int) > ${now}::timestamptz, false)`;
  const either = <T>(soon: RawBuilder<T>, well: RawBuilder<T>) =>
    sql<T>`case when ${tooSoon} then ${soon} else ${well} end`;
  const longer = sql<number>`least(interval_seconds + ${LONGER_SECONDS}::int, ${LONGEST_INTERVAL_SECONDS}::int)`;
  const { rows } = await sql<Found & { readonly polled_too_soon: boolean }>`update ${sql.table(table)} set
    polled_too_soon = ${tooSoon},
    polled_at = ${either(sql<Date>`polled_at`, sql<Date>`${now}::timestamptz`)},
    interval_seconds = ${either(longer, sql<number>`interval_seconds`)}
    where ${sql.ref(id)} = ${digest} and client_id = ${clientId}
    returning payload, consumed_at, polled_too_soon`.execute(database);
  const [row] = rows;
  if (row?.polled_too_soon) throw new errors.SlowDown();
  return row;
}

/** Makes the latest poll as if it had not been, where its answer was 503: the next one is then not too soon. */
export async function forgetPoll(tx: Tx, { table, id }: Polled, digest: Digest): Promise<boolean> {
  const { numAffectedRows } = await sql`update ${sql.table(table)} set polled_at = null
    where ${sql.ref(id)} = ${digest}`.execute(tx);
  return numAffectedRows === 1n;
}

/**
 * Of any number of polls at once, one gets the tokens. Answers whether it was this one. Runs in the transaction of the
 * request's changes. A refusal is not used up, but repeated.
 */
export async function takeDecision(
  tx: Tx,
  { table, id }: Polled,
  { digest, usedAt }: { readonly digest: Digest; readonly usedAt: TimeOfUse },
): Promise<boolean> {
  const { numAffectedRows } = await sql`update ${sql.table(table)}
    set consumed_at = case when status = 'approved' then ${usedAt}::timestamptz end
    where ${sql.ref(id)} = ${digest} and consumed_at is null`.execute(tx);
  return numAffectedRows === 1n;
}

/** Takes the decision back if it was carried out and the answer was 503 (see `takeBackUse`). */
export async function takeBackDecision(
  tx: Tx,
  { table, id }: Polled,
  { digest, usedAt }: { readonly digest: Digest; readonly usedAt: TimeOfUse },
): Promise<boolean> {
  await sql`select 1 from ${sql.table(table)} where ${sql.ref(id)} = ${digest} for update`.execute(tx);
  const { numAffectedRows } = await sql`update ${sql.table(table)} set consumed_at = null
    where ${sql.ref(id)} = ${digest} and consumed_at = ${usedAt}::timestamptz`.execute(tx);
  return numAffectedRows === 1n;
}
