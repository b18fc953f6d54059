/**
 * Counts of attempts, kept in Postgres for all nodes together. An attempt is counted before it is looked at, so a
 * hundred at once are a hundred counted attempts. Every count runs out by itself. Where right attempts must not count,
 * attempt_limiter.ts does it.
 */
import { RateLimiterPostgres, RateLimiterRes } from 'rate-limiter-flexible';
import type pg from 'pg';
import type { Quota } from '../base/quota.ts';
import { sha256 } from '../base/secret.ts';

export type Admission =
  | { readonly admitted: true }
  | {
      readonly admitted: false;
      readonly retryAfterSeconds: number;
      /** The limit that was reached. */
      readonly quota: Quota;
      /** Whether this attempt is the one that was too many, on whichever node: those after it are no news. */
      readonly first: boolean;
    };

export interface Limit {
  readonly points: number;
  /** In seconds. */
  readonly duration: number;
}

export type Counted = readonly [counter: RateLimiterPostgres, key: string];

/** `remembers`: a node that has seen a limit reached asks no more until it runs out. For counts that nothing takes back. */
export function createCounter(
  pool: pg.Pool,
  keyPrefix: string,
  { points, duration }: Limit,
  { remembers = false } = {},
): RateLimiterPostgres {
  return new RateLimiterPostgres({
    storeClient: pool,
    storeType: 'pool',
    tableName: 'failed_attempts',
    tableCreated: true,
    clearExpiredByTimeout: false,
    keyPrefix,
    points,
    duration,
    ...(remembers && { inMemoryBlockOnConsumed: points + 1 }),
  });
}

/** Counts one attempt in each, in their order, up to the first whose limit is reached. */
export async function countAttempt(counted: readonly Counted[]): Promise<Admission> {
  for (const [counter, key] of counted) {
    const refused = await counter.consume(key).then(() => undefined, resultOf);
    if (!refused) continue;
    const { points, duration, keyPrefix } = counter;
    return {
      admitted: false,
      retryAfterSeconds: Math.max(1, Math.ceil(refused.msBeforeNext / 1000)),
      quota: { name: keyPrefix, requests: points, windowSeconds: duration },
      first: refused.consumedPoints === points + 1,
    };
  }
  return { admitted: true };
}

function resultOf(refused: unknown): RateLimiterRes {
  if (refused instanceof RateLimiterRes) return refused;
  throw refused;
}

/** What people type is theirs: the table keeps digests. */
export function keyFor(value: string): string {
  return sha256(value).toString('base64url');
}
