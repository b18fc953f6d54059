/**
 * Counts of attempts, kept in Postgres for all nodes together. An attempt is counted before it is looked at, so a
 * hundred at once are a hundred counted attempts; one that was right takes its count back. Every count runs out by
 * itself.
 */
import { RateLimiterPostgres, RateLimiterRes } from 'rate-limiter-flexible';
import type pg from 'pg';
import { sha256 } from '../base/secret.ts';

export type Admission =
  | { readonly admitted: true; /** Call it when the attempt was right. */ forgive(): Promise<void> }
  | { readonly admitted: false; readonly retryAfterSeconds: number };

export interface Limit {
  readonly points: number;
  /** In seconds. */
  readonly duration: number;
}

export type Counted = readonly [counter: RateLimiterPostgres, key: string];

export function createCounter(pool: pg.Pool, keyPrefix: string, { points, duration }: Limit): RateLimiterPostgres {
  return new RateLimiterPostgres({
    storeClient: pool,
    storeType: 'pool',
    tableName: 'failed_attempts',
    tableCreated: true,
    clearExpiredByTimeout: false,
    keyPrefix,
    points,
    duration,
  });
}

/** Counts one attempt in each, in their order, up to the first whose limit is reached. */
export async function countAttempt(counted: readonly Counted[]): Promise<Admission> {
  try {
    for (const [counter, key] of counted) await counter.consume(key);
  } catch (refused) {
    if (!(refused instanceof RateLimiterRes)) throw refused;
    return { admitted: false, retryAfterSeconds: Math.max(1, Math.ceil(refused.msBeforeNext / 1000)) };
  }
  return {
    admitted: true,
    forgive: async () => {
      await Promise.all(counted.map(([counter, key]) => counter.reward(key)));
    },
  };
}

/** What people type is theirs: the table keeps digests. */
export function keyFor(value: string): string {
  return sha256(value).toString('base64url');
}
