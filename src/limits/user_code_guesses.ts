/**
 * Slows down guessing of user codes (RFC 8628, 5.1): per browser session, per address, and for everybody together. A
 * code is one of 20^8 and lives ten minutes. With 1,000 guesses in that time, and as many devices that wait, somebody
 * finds any code at all once in some 25,000 such spans.
 */
import type { RateLimiterPostgres } from 'rate-limiter-flexible';
import type pg from 'pg';
import { countAttempt, createCounter, keyFor, type Admission, type Limit } from './failed_attempts.ts';
import { networkOf } from './network.ts';

const PER_SESSION: Limit = { points: 10, duration: 600 };
const PER_ADDRESS: Limit = { points: 50, duration: 600 };
const ALL: Limit = { points: 1_000, duration: 600 };

export class UserCodeGuesses {
  readonly #perSession: RateLimiterPostgres;
  readonly #perAddress: RateLimiterPostgres;
  readonly #all: RateLimiterPostgres;

  constructor(pool: pg.Pool) {
    this.#perSession = createCounter(pool, 'user_code_session', PER_SESSION);
    this.#perAddress = createCounter(pool, 'user_code_address', PER_ADDRESS);
    this.#all = createCounter(pool, 'user_code_all', ALL);
  }

  /** Counts a guess before anything is looked up; forgive one that was right. */
  admit(session: string, address: string): Promise<Admission> {
    return countAttempt([
      [this.#perSession, keyFor(session)],
      [this.#perAddress, keyFor(networkOf(address))],
      [this.#all, 'all'],
    ]);
  }
}
