/**
 * Slows down guessing of passwords, per account and per address, on all nodes together. Attempts are counted before
 * the password is looked at, so a hundred parallel guesses are a hundred counted guesses; a success takes its count
 * back. Nobody can lock an owner out: a limit runs out by itself, and an address from which the owner has logged in
 * before is not held to what others have guessed at the account.
 */
import type { RateLimiterPostgres } from 'rate-limiter-flexible';
import type pg from 'pg';
import { countAttempt, createCounter, keyFor, type Admission, type Limit } from './failed_attempts.ts';
import { networkOf } from './network.ts';

/** A person mistypes a few times; a program guesses for ever. */
const PER_ACCOUNT_AND_ADDRESS: Limit = { points: 5, duration: 60 };
const PER_ACCOUNT: Limit = { points: 30, duration: 900 };
const PER_ADDRESS: Limit = { points: 60, duration: 900 };
const KNOWN_FOR_SECONDS = 30 * 86_400;

export type LoginAdmission =
  | (Extract<Admission, { admitted: true }> & {
      /** Call it when nobody has looked at the password. */
      takeBack(): Promise<void>;
    })
  | Extract<Admission, { admitted: false }>;

export class LoginAttempts {
  readonly #perAccountAndAddress: RateLimiterPostgres;
  readonly #perAccount: RateLimiterPostgres;
  readonly #perAddress: RateLimiterPostgres;
  /** Not a limit: the addresses from which an account was logged in to. */
  readonly #known: RateLimiterPostgres;

  constructor(pool: pg.Pool) {
    this.#perAccountAndAddress = createCounter(pool, 'login_account_address', PER_ACCOUNT_AND_ADDRESS);
    this.#perAccount = createCounter(pool, 'login_account', PER_ACCOUNT);
    this.#perAddress = createCounter(pool, 'login_address', PER_ADDRESS);
    this.#known = createCounter(pool, 'login_known', { points: 1, duration: KNOWN_FOR_SECONDS });
  }

  /** Counts an attempt for the account that was typed, whether there is such an account or not. */
  async admit(email: string, address: string): Promise<LoginAdmission> {
    const account = keyFor(email.trim().toLowerCase());
    const network = networkOf(address);
    const both = keyFor(`${account} ${network}`);
    const admission = await countAttempt([
      [this.#perAccountAndAddress, both],
      ...((await this.#known.get(both)) ? [] : [[this.#perAccount, account] as const]),
      [this.#perAddress, keyFor(network)],
    ]);
    if (!admission.admitted) return admission;
    return {
      admitted: true,
      takeBack: admission.forgive,
      forgive: async () => {
        await admission.forgive();
        await this.#known.set(both, 1, KNOWN_FOR_SECONDS);
      },
    };
  }
}
