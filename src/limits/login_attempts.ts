/**
 * Slows down guessing of passwords without locking out people who have logged in before (ASVS 5.0, 6.1.1 and 6.3.1).
 *
 * An attempt from a browser or a network from which its account was logged in to before counts for that account at that
 * browser or network alone: no stranger can use that up. Any other attempt counts for its account at its network, for
 * its network, and for its account. One network has 10 wrong attempts at one account in 15 minutes, so it takes three
 * to reach the limit of an account, and then only people wait who come to it from somewhere new.
 */
import { randomBytes } from 'node:crypto';
import { type Attempted, AttemptLimiter, type AttemptLimiterSettings, type Counted } from './attempt_limiter.ts';
import type { Limit } from './attempt_counters.ts';
import { KnownLogins } from './known_logins.ts';
import { networkOf } from './rate_limit_key.ts';

/** A person mistypes a few times; a program guesses for ever. */
const PER_ACCOUNT_AND_PLACE: readonly Limit[] = [
  { name: 'login_account_place_minute', wrong: 5, seconds: 60 },
  { name: 'login_account_place', wrong: 10, seconds: 900 },
];
/** Few at once: strangers of one address must not take all places of those whose passwords wait to be looked at. */
const PER_ADDRESS: Limit = { name: 'login_address', wrong: 60, seconds: 900, atOnce: 10 };
const PER_ACCOUNT: Limit = { name: 'login_account', wrong: 30, seconds: 900 };

/** From where somebody wants to log in. */
export interface LoginPlace {
  readonly address: string;
  /** What the cookie of a browser says that somebody has logged in with before. */
  readonly browser?: string | undefined;
}

export class LoginAttempts {
  readonly #limiter: AttemptLimiter;
  readonly #known: KnownLogins;

  constructor(settings: AttemptLimiterSettings) {
    this.#limiter = new AttemptLimiter(settings);
    this.#known = new KnownLogins(settings.database, settings.digest);
  }

  /** Looks at a password by `check` once it may, for the account that was typed, whether there is one or not. */
  async attempt<T>(
    { email, place, now }: { readonly email: string; readonly place: LoginPlace; readonly now: Date },
    check: () => Promise<T>,
    isRight: (outcome: T) => boolean,
  ): Promise<Attempted<T>> {
    const account = email.trim().toLowerCase();
    const network = `network ${networkOf(place.address)}`;
    // the browser first: it is one person's, and a network may be that of many
    const places = [...(place.browser === undefined ? [] : [`browser ${place.browser}`]), network];
    const [known] = await this.#known.among(account, places, now);
    return this.#limiter.attempt(countedFor(account, network, known), check, isRight);
  }

  /**
   * After a right password: from there the account's owner may always try again. Answers the value (32 random bytes,
   * base64url) that the browser's cookie is to have. A browser keeps its value only where the owner has logged in with it
   * before: any other value may come from a stranger who wants to share the owner's attempts.
   */
  async remember(email: string, { address, browser }: LoginPlace, now: Date): Promise<string> {
    const account = email.trim().toLowerCase();
    const isKnown = browser !== undefined && (await this.#known.among(account, [`browser ${browser}`], now)).length > 0;
    const value = isKnown ? browser : randomBytes(32).toString('base64url');
    await this.#known.remember(account, [`browser ${value}`, `network ${networkOf(address)}`], now);
    return value;
  }
}

function countedFor(account: string, network: string, known: string | undefined): readonly Counted[] {
  const own = PER_ACCOUNT_AND_PLACE.map((limit) => ({ limit, of: `${known ?? network} ${account}` }));
  if (known !== undefined) return own;
  return [{ limit: PER_ADDRESS, of: network }, ...own, { limit: PER_ACCOUNT, of: account }];
}
