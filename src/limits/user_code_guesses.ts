/**
 * Slows down guessing of user codes (RFC 8628, 5.1): per browser session, per address, and for everybody together. A
 * code is one of 20^8 and lives ten minutes. With 1,000 guesses in that time, and as many devices that wait, somebody
 * finds any code at all once in some 25,000 such spans.
 */
import type pg from 'pg';
import { FailedAttempts, type Admission } from './failed_attempts.ts';

const LIMITS = [
  { name: 'user_code_session', attempts: 10, seconds: 600 },
  { name: 'user_code_address', attempts: 50, seconds: 600 },
  { name: 'user_code_all', attempts: 1_000, seconds: 600 },
];

export class UserCodeGuesses {
  readonly #attempts: FailedAttempts;

  constructor(pool: pg.Pool) {
    this.#attempts = new FailedAttempts(pool, LIMITS);
  }

  /** Counts a guess before anything is looked up; forgive one that was right. */
  admit(session: string, address: string): Promise<Admission> {
    return this.#attempts.admit([session, address, 'all']);
  }
}
