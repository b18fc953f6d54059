/**
 * Limits a client that sends login hints for unknown people (CIBA): the response shows that there is no account, so a
 * client could find out who has one. Only such hints count, so a client that knows its users is never limited.
 */
import type { AttemptLimit } from './attempt_counters.ts';
import { AttemptLimiter, type Attempted, type AttemptLimiterSettings } from './attempt_limiter.ts';

const PER_CLIENT: AttemptLimit = { name: 'login_hint_client', wrong: 60, seconds: 600 };

export class LoginHints {
  readonly #limiter: AttemptLimiter;

  constructor(settings: AttemptLimiterSettings) {
    this.#limiter = new AttemptLimiter(settings);
  }

  /** Looks up an account by `find`; a hint is right if it finds one. */
  attempt<T>(clientId: string, find: () => Promise<T | undefined>): Promise<Attempted<T | undefined>> {
    return this.#limiter.attempt([{ limit: PER_CLIENT, of: clientId }], find, (found) => found !== undefined);
  }
}
