/**
 * Grants that an application polls for until a person has decided: device codes (RFC 8628) and backchannel
 * authentication requests (CIBA). One statement finds the row, counts the poll and decides whether it came too soon,
 * across all nodes; one statement consumes an approved request.
 */
import { errors, type AdapterPayload } from 'oidc-provider';
import { sql, type RawBuilder } from 'kysely';
import type { Digest } from '../../base/secret.ts';
import type { Database, Tx } from '../../db/connection.ts';
import type { TimeOfUse } from '../storage/token_rows.ts';

/**
 * The minimum seconds between two polls (RFC 8628, 3.5; CIBA, 7.3), and the increase after each poll that came too
 * soon.
 */
export const INTERVAL_SECONDS = 5;
const LONGER_SECONDS = 5;
/** A client that ignores the interval this often does not obey a longer one either. */
const LONGEST_INTERVAL_SECONDS = 60;
/** A poll may be this much early, because network delays vary. */
const TOLERANCE_SECONDS = 1;

/** The table of the polled rows, and its column with the digest of the polled code. */
export type Polled =
  | { readonly table: 'device_codes'; readonly id: 'device_code' }
  | { readonly table: 'backchannel_requests'; readonly id: 'auth_req_id' };

interface Found {
  readonly payload: AdapterPayload;
  readonly consumed_at: Date | null;
  /** Whether the poll came within the interval. */
  readonly polled_too_soon: boolean;
}

/**
 * Finds the row and counts the poll. Throws `SlowDown` if it came too soon; of several polls at the same moment, all
 * but one do. A used or denied request is over: its interval does not grow, and the caller answers the poll (RFC 8628,
 * 3.5). The poll of another client finds nothing and is not counted.
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
  const over = sql<boolean>`(consumed_at is not null or status = 'denied')`;
  const longer = sql<number>`case when ${over} then interval_seconds else least(interval_seconds + ${LONGER_SECONDS}::int, ${LONGEST_INTERVAL_SECONDS}::int) end`;
  const { rows } = await sql<Found & { readonly over: boolean }>`update ${sql.table(table)} set
    polled_too_soon = ${tooSoon},
    polled_at = ${either(sql<Date>`polled_at`, sql<Date>`${now}::timestamptz`)},
    interval_seconds = ${either(longer, sql<number>`interval_seconds`)}
    where ${sql.ref(id)} = ${digest} and client_id = ${clientId}
    returning payload, consumed_at, polled_too_soon, ${over} as over`.execute(database);
  const [row] = rows;
  if (row?.polled_too_soon && !row.over) throw new errors.SlowDown();
  return row;
}

/**
 * Refuses a code that was used within the interval. Such a poll may be a retry, so it does not end the tokens; a later
 * one does.
 */
export function refuseUsedAtOnce({ consumed_at, polled_too_soon }: Found, what: string): void {
  if (consumed_at && polled_too_soon) throw new errors.InvalidGrant(`the ${what} was already used`);
}

/** Resets the time of the latest poll if its answer was 503, so that the next poll is not too soon. */
export async function forgetPoll(tx: Tx, { table, id }: Polled, digest: Digest): Promise<boolean> {
  const { numAffectedRows } = await sql`update ${sql.table(table)} set polled_at = null
    where ${sql.ref(id)} = ${digest}`.execute(tx);
  return numAffectedRows === 1n;
}

/**
 * Consumes an approved request in the transaction of the request's changes. Resolves to true for exactly one of several
 * simultaneous polls. A denied request is not consumed: the refusal can be repeated.
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

/** Takes the consumption back if it was committed and the answer was 503 (see `takeBackUse`). */
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
