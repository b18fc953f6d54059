/**
 * Limits guesses of user codes (RFC 8628, section 5.1): per browser session, and per account of a logged-in person or
 * else per network. There is no limit for all together: it would refuse right codes because of other people's wrong
 * ones. So the number of codes must be large: 10 letters of 20 are 20^10, about 1.0e13 (43 bits), for 10 minutes.
 * Guesses from 100,000 networks at once are 2 million in that time, about 3,300 a second. They find a given code with
 * the probability 2.0e-7. If 1,000 devices wait all the time, they find one of them once in 5,100 such periods, or 36
 * days of that traffic. They win no account: they connect another person's device to an account of their own.
 */
import type { AttemptLimit } from './attempt_counters.ts';
import { AttemptLimiter, type Attempted, type AttemptLimiterSettings } from './attempt_limiter.ts';
import { networkOf } from './rate_limit_key.ts';

const PER_SESSION: AttemptLimit = { name: 'user_code_session', wrong: 10, seconds: 600 };
const PER_ACCOUNT: AttemptLimit = { name: 'user_code_account', wrong: 20, seconds: 600 };
const PER_ADDRESS: AttemptLimit = { name: 'user_code_address', wrong: 20, seconds: 600 };

/** The sender of a user code. */
export interface Guesser {
  readonly session: string;
  /** Set if the person is logged in. Guesses of others behind the same address then do not matter. */
  readonly accountId: string | undefined;
  readonly address: string;
}

export class UserCodeGuesses {
  readonly #limiter: AttemptLimiter;

  constructor(settings: AttemptLimiterSettings) {
    this.#limiter = new AttemptLimiter(settings);
  }

  /** Looks up a code by `find` when the limits allow it; a guess is right if it finds a waiting device. */
  attempt<T>(
    { session, accountId, address }: Guesser,
    find: () => Promise<T | undefined>,
  ): Promise<Attempted<T | undefined>> {
    return this.#limiter.attempt(
      [
        { limit: PER_SESSION, of: session },
        accountId === undefined
          ? { limit: PER_ADDRESS, of: networkOf(address) }
          : { limit: PER_ACCOUNT, of: accountId },
      ],
      find,
      (found) => found !== undefined,
    );
  }
}
