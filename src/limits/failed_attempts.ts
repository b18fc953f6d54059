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
  readonly name: string;
  readonly attempts: number;
  readonly seconds: number;
}

export class FailedAttempts {
  readonly #limiters: readonly RateLimiterPostgres[];

  constructor(pool: pg.Pool, limits: readonly Limit[]) {
    this.#limiters = limits.map(
      ({ name, attempts, seconds }) =>
        new RateLimiterPostgres({
          storeClient: pool,
          storeType: 'pool',
          tableName: 'failed_attempts',
          tableCreated: true,
          clearExpiredByTimeout: false,
          keyPrefix: name,
          points: attempts,
          duration: seconds,
        }),
    );
  }

  /** Counts an attempt against each limit, in their order, by what each one counts; stops at the first that is reached. */
  async admit(counted: readonly string[]): Promise<Admission> {
    const keys = counted.map(digest);
    try {
      for (const [index, limiter] of this.#limiters.entries()) await limiter.consume(keys[index]!);
    } catch (refused) {
      if (refused instanceof RateLimiterRes)
        return { admitted: false, retryAfterSeconds: Math.max(1, Math.ceil(refused.msBeforeNext / 1000)) };
      throw refused;
    }
    return {
      admitted: true,
      forgive: async () => {
        await Promise.all(this.#limiters.map((limiter, index) => limiter.reward(keys[index]!)));
      },
    };
  }
}

/** What people type is theirs: the table keeps digests. */
function digest(value: string): string {
  return sha256(value).toString('base64url');
}
