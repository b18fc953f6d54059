/**
 * Slows down a client that hints at people who have no account here (CIBA): it is told so, and could find out who has
 * one. Only hints at nobody count, so a client that knows its people is never held up.
 */
import type { Limit } from './attempt_counters.ts';
import { AttemptLimiter, type Attempted, type AttemptLimiterSettings } from './attempt_limiter.ts';

const PER_CLIENT: Limit = { name: 'login_hint_client', wrong: 60, seconds: 600 };

export class LoginHints {
  readonly #limiter: AttemptLimiter;

  constructor(settings: AttemptLimiterSettings) {
    this.#limiter = new AttemptLimiter(settings);
  }

  /** Looks somebody up by `find`; a hint is right where it found an account. */
  attempt<T>(clientId: string, find: () => Promise<T | undefined>): Promise<Attempted<T | undefined>> {
    return this.#limiter.attempt([{ limit: PER_CLIENT, of: clientId }], find, (found) => found !== undefined);
  }
}
