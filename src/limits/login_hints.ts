/**
 * Slows down a client that hints at people who have no account here (CIBA): it is told so, and could find out who has
 * one. A hint that was right takes its count back, so a client that knows its people is never held up.
 */
import type { RateLimiterPostgres } from 'rate-limiter-flexible';
import type pg from 'pg';
import { countAttempt, createCounter, keyFor, type Admission, type Limit } from './failed_attempts.ts';

const PER_CLIENT: Limit = { points: 60, duration: 600 };

export class LoginHints {
  readonly #perClient: RateLimiterPostgres;

  constructor(pool: pg.Pool) {
    this.#perClient = createCounter(pool, 'login_hint_client', PER_CLIENT);
  }

  /** Counts a hint before anybody is looked up; forgive one that was right. */
  admit(clientId: string): Promise<Admission> {
    return countAttempt([[this.#perClient, keyFor(clientId)]]);
  }
}
