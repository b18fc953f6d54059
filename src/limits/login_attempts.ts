/**
 * Slows down guessing of passwords, per account and per address, on all nodes together. Attempts are counted before
 * the password is looked at, so a hundred parallel guesses are a hundred counted guesses; a success takes its count
 * back. A limit always runs out by itself: nobody can lock an owner out for good.
 */
import { RateLimiterPostgres, RateLimiterRes } from 'rate-limiter-flexible';
import type pg from 'pg';
import { sha256 } from '../base/secret.ts';

export type Admission =
  | { readonly admitted: true; /** Call it when the password was right. */ forgive(): Promise<void> }
  | { readonly admitted: false; readonly retryAfterSeconds: number };

/** A person mistypes a few times; a program guesses for ever. */
const PER_ACCOUNT_AND_ADDRESS = { points: 5, duration: 60 };
const PER_ACCOUNT = { points: 30, duration: 900 };
const PER_ADDRESS = { points: 60, duration: 900 };

export class LoginAttempts {
  readonly #limits: readonly {
    readonly limiter: RateLimiterPostgres;
    readonly key: (email: string, address: string) => string;
  }[];

  constructor(pool: pg.Pool) {
    const limiter = (name: string, { points, duration }: { points: number; duration: number }): RateLimiterPostgres =>
      new RateLimiterPostgres({
        storeClient: pool,
        storeType: 'pool',
        tableName: 'failed_attempts',
        tableCreated: true,
        clearExpiredByTimeout: false,
        keyPrefix: name,
        points,
        duration,
      });
    this.#limits = [
      {
        limiter: limiter('login_account_address', PER_ACCOUNT_AND_ADDRESS),
        key: (email, address) => digest(`${email} ${address}`),
      },
      { limiter: limiter('login_account', PER_ACCOUNT), key: (email) => digest(email) },
      { limiter: limiter('login_address', PER_ADDRESS), key: (_, address) => digest(address) },
    ];
  }

  /** Counts an attempt for the address that was typed, whether there is such an account or not. */
  async admit(email: string, address: string): Promise<Admission> {
    const typed = email.trim().toLowerCase();
    try {
      for (const { limiter, key } of this.#limits) await limiter.consume(key(typed, address));
    } catch (refused) {
      if (refused instanceof RateLimiterRes)
        return { admitted: false, retryAfterSeconds: Math.max(1, Math.ceil(refused.msBeforeNext / 1000)) };
      throw refused;
    }
    return {
      admitted: true,
      forgive: async () => {
        await Promise.all(this.#limits.map(({ limiter, key }) => limiter.reward(key(typed, address))));
      },
    };
  }
}

/** What people type at a login is theirs: the table keeps digests. */
function digest(value: string): string {
  return sha256(value).toString('base64url');
}
