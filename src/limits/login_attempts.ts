/**
 * Slows down guessing of passwords, per account and per address, on all nodes together. A limit always runs out by
 * itself: nobody can lock an owner out for good.
 */
import type pg from 'pg';
import { FailedAttempts, type Admission } from './failed_attempts.ts';

/** A person mistypes a few times; a program guesses for ever. */
const LIMITS = [
  { name: 'login_account_address', attempts: 5, seconds: 60 },
  { name: 'login_account', attempts: 30, seconds: 900 },
  { name: 'login_address', attempts: 60, seconds: 900 },
];

export class LoginAttempts {
  readonly #attempts: FailedAttempts;

  constructor(pool: pg.Pool) {
    this.#attempts = new FailedAttempts(pool, LIMITS);
  }

  /** Counts an attempt for the address that was typed, whether there is such an account or not. */
  admit(email: string, address: string): Promise<Admission> {
    const typed = email.trim().toLowerCase();
    return this.#attempts.admit([`${typed} ${address}`, typed, address]);
  }
}
