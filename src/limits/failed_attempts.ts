/**
 * Counters of attempts in PostgreSQL, for all nodes together. An attempt is counted before it is checked, so a hundred
 * at once are counted as a hundred. Each count expires. For limits to which right attempts must not count, use
 * attempt_limiter.ts.
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
      /** Whether this attempt was the first to exceed the limit, on any node. Later ones are not recorded. */
      readonly first: boolean;
    };

export interface PointLimit {
  readonly points: number;
  /** In seconds. */
  readonly duration: number;
}

export type CountedKey = readonly [counter: RateLimiterPostgres, key: string];

/**
 * `remembers`: a node that has seen a limit reached does not query again until it expires. Only for counts that are
 * never reduced.
 */
export function createCounter(
  pool: pg.Pool,
  keyPrefix: string,
  { points, duration }: PointLimit,
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

/** Counts one attempt in each counter in order, up to the first whose limit is reached. */
export async function countAttempt(counted: readonly CountedKey[]): Promise<Admission> {
  for (const [counter, key] of counted) {
    const exceeded = await counter.consume(key).then(() => undefined, resultOf);
    if (!exceeded) continue;
    const { points, duration, keyPrefix } = counter;
    return {
      admitted: false,
      retryAfterSeconds: Math.max(1, Math.ceil(exceeded.msBeforeNext / 1000)),
      quota: { name: keyPrefix, requests: points, windowSeconds: duration },
      first: exceeded.consumedPoints === points + 1,
    };
  }
  return { admitted: true };
}

function resultOf(refused: unknown): RateLimiterRes {
  if (refused instanceof RateLimiterRes) return refused;
  throw refused;
}

/** The key of a counter. The table holds digests only, because people type personal data. */
export function keyFor(value: string): string {
  return sha256(value).toString('base64url');
}
