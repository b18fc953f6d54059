/**
 * Slows down guessing of passwords, per account and per address, on all nodes together. Attempts are counted before
 * the password is looked at, so a hundred parallel guesses are a hundred counted guesses; a success takes its count
 * back. Nobody can lock an owner out: a limit runs out by itself, and an address from which the owner has logged in
 * before is not held to what others have guessed at the account.
 */
import { RateLimiterPostgres, RateLimiterRes } from 'rate-limiter-flexible';
import type pg from 'pg';
import { sha256 } from '../base/secret.ts';

export type Admission =
  | { readonly admitted: true; /** Call it when the password was right. */ forgive(): Promise<void> }
  | { readonly admitted: false; readonly retryAfterSeconds: number };

interface Limit {
  readonly points: number;
  readonly duration: number;
}

/** A person mistypes a few times; a program guesses for ever. */
const PER_ACCOUNT_AND_ADDRESS: Limit = { points: 5, duration: 60 };
const PER_ACCOUNT: Limit = { points: 30, duration: 900 };
const PER_ADDRESS: Limit = { points: 60, duration: 900 };
const KNOWN_FOR_SECONDS = 30 * 86_400;

export class LoginAttempts {
  readonly #perAccountAndAddress: RateLimiterPostgres;
  readonly #perAccount: RateLimiterPostgres;
  readonly #perAddress: RateLimiterPostgres;
  /** Not a limit: the addresses from which an account was logged in to. */
  readonly #known: RateLimiterPostgres;

  constructor(pool: pg.Pool) {
    const counter = (keyPrefix: string, { points, duration }: Limit): RateLimiterPostgres =>
      new RateLimiterPostgres({
        storeClient: pool,
        storeType: 'pool',
        tableName: 'failed_attempts',
        tableCreated: true,
        clearExpiredByTimeout: false,
        keyPrefix,
        points,
        duration,
      });
    this.#perAccountAndAddress = counter('login_account_address', PER_ACCOUNT_AND_ADDRESS);
    this.#perAccount = counter('login_account', PER_ACCOUNT);
    this.#perAddress = counter('login_address', PER_ADDRESS);
    this.#known = counter('login_known', { points: 1, duration: KNOWN_FOR_SECONDS });
  }

  /** Counts an attempt for the account that was typed, whether there is such an account or not. */
  async admit(email: string, address: string): Promise<Admission> {
    const account = digest(email.trim().toLowerCase());
    const both = digest(`${account} ${address}`);
    const counted: readonly (readonly [RateLimiterPostgres, string])[] = [
      [this.#perAccountAndAddress, both],
      ...((await this.#known.get(both)) ? [] : [[this.#perAccount, account] as const]),
      [this.#perAddress, digest(address)],
    ];
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
        await this.#known.set(both, 1, KNOWN_FOR_SECONDS);
      },
    };
  }
}

/** What people type at a login is theirs: the table keeps digests. */
function digest(value: string): string {
  return sha256(value).toString('base64url');
}
