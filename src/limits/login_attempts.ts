/**
 * Limits password guessing without locking out people who have logged in before (ASVS 5.0, 6.1.1 and 6.3.1).
 *
 * An attempt from a browser or network that is known for its account (an earlier login came from there) counts only for
 * that account there: a stranger can not use that limit up. Any other attempt counts for its account at its network,
 * for its network, and for its account. One network has 10 wrong attempts at one account in 15 minutes, so three
 * networks are needed to reach the limit of an account, and then only people at unknown places must wait.
 */
import { randomBytes } from 'node:crypto';
import { canonicalEmail } from '../base/email_address.ts';
import type { Tx } from '../db/connection.ts';
import { type Attempted, AttemptLimiter, type AttemptLimiterSettings, type AppliedLimit } from './attempt_limiter.ts';
import type { AttemptLimit } from './attempt_counters.ts';
import { KnownLogins } from './known_logins.ts';
import { LoginUnlocks } from './login_unlocks.ts';
import { networkOf } from './rate_limit_key.ts';

/** A person mistypes a few times; a program guesses without end. */
const PER_ACCOUNT_AND_PLACE: readonly AttemptLimit[] = [
  { name: 'login_account_place_minute', wrong: 5, seconds: 60 },
  { name: 'login_account_place', wrong: 10, seconds: 900 },
];
/**
 * Few at once, so that strangers at one address do not take all places of people whose passwords wait to be checked.
 */
const PER_ADDRESS: AttemptLimit = { name: 'login_address', wrong: 60, seconds: 900, atOnce: 10 };
/** They cost a signature check each, and a line in the audit trail. */
const PER_ADDRESS_OF_PASSKEYS: AttemptLimit = { name: 'passkey_address', wrong: 60, seconds: 900 };
const PER_ACCOUNT: AttemptLimit = { name: 'login_account', wrong: 30, seconds: 900 };
/**
 * A code has a million values, and up to three are right at a time: 30 guesses a day find one with a probability of 1 in
 * 11,000. Only a sender that knows the password gets here.
 */
const PER_ACCOUNT_AND_PLACE_OF_CODES: AttemptLimit = { name: 'second_step_account_place', wrong: 30, seconds: 86_400 };
const PER_ACCOUNT_OF_CODES: AttemptLimit = { name: 'second_step_account', wrong: 30, seconds: 86_400 };

/** The place of a login. */
export interface LoginPlace {
  readonly address: string;
  /** The id in the cookie of a browser that was used for an earlier login. */
  readonly browser?: string | undefined;
}

export class LoginAttempts {
  readonly #limiter: AttemptLimiter;
  readonly #known: KnownLogins;
  readonly #unlocks: LoginUnlocks;

  constructor(settings: AttemptLimiterSettings) {
    this.#limiter = new AttemptLimiter(settings);
    this.#known = new KnownLogins(settings.database, settings.digest);
    this.#unlocks = new LoginUnlocks(settings.database, settings.digest);
  }

  /**
   * Checks a password by `check` when the limits allow it, for the e-mail address as typed, whether it has an account
   * or not.
   */
  async attempt<T>(
    { email, place, now }: { readonly email: string; readonly place: LoginPlace; readonly now: Date },
    check: () => Promise<T>,
    isRight: (outcome: T) => boolean,
  ): Promise<Attempted<T>> {
    return this.#limiter.attempt(countedFor(await this.#placeOf(email, place, now)), check, isRight);
  }

  /**
   * The same for the second step of a login, after a right password. It also counts against limits of its own, because
   * a code has few values.
   */
  async attemptSecondStep<T>(
    { email, place, now }: { readonly email: string; readonly place: LoginPlace; readonly now: Date },
    check: () => Promise<T>,
    isRight: (outcome: T) => boolean,
  ): Promise<Attempted<T>> {
    const counted = await this.#placeOf(email, place, now);
    const { account, network, known } = counted;
    const codes = [
      { limit: PER_ACCOUNT_AND_PLACE_OF_CODES, of: `${known ?? network} ${account}` },
      ...(known === undefined ? [{ limit: PER_ACCOUNT_OF_CODES, of: account }] : []),
    ];
    return this.#limiter.attempt([...countedFor(counted), ...codes], check, isRight);
  }

  /**
   * Counts a wrong passkey, and refuses its sender if the network has sent too many. A right one can't be guessed, so no
   * limit is asked for it: otherwise anyone in the same network could keep its owner out.
   */
  countWrongPasskey(address: string): Promise<Attempted<undefined>> {
    const counted = [{ limit: PER_ADDRESS_OF_PASSKEYS, of: `network ${networkOf(address)}` }];
    return this.#limiter.attempt(
      counted,
      async () => undefined,
      () => false,
    );
  }

  /** Ends the limits that attempts at this account have reached. Those of networks stay. */
  async unlock(tx: Tx, email: string, now: Date): Promise<void> {
    await this.#unlocks.unlock(tx, canonicalEmail(email), now);
  }

  /** Whether there were logins to the account before, and none of them from this browser or network. */
  isNewPlace(email: string, place: LoginPlace, now: Date): Promise<boolean> {
    return this.#known.areNew(canonicalEmail(email), placesOf(place), now);
  }

  async #placeOf(email: string, place: LoginPlace, now: Date): Promise<CountedPlace> {
    const account = canonicalEmail(email);
    const network = `network ${networkOf(place.address)}`;
    const [known] = await this.#known.among(account, placesOf(place), now);
    return { account: await this.#unlocks.countedAs(account), network, known };
  }

  /**
   * Remembers the place of a successful login: from there, strangers can not block the account's owner. Returns the value
   * for the browser's cookie (32 random bytes, base64url). A browser keeps its value only if the owner has logged in with
   * it before: any other value may come from a stranger who wants to share the owner's attempts.
   */
  async remember(email: string, { address, browser }: LoginPlace, now: Date): Promise<string> {
    const account = canonicalEmail(email);
    const isKnown = browser !== undefined && (await this.#known.among(account, [`browser ${browser}`], now)).length > 0;
    const value = isKnown ? browser : randomBytes(32).toString('base64url');
    await this.#known.remember(account, [`browser ${value}`, `network ${networkOf(address)}`], now);
    return value;
  }
}

/** The browser first: it belongs to one person, a network to many. */
function placesOf({ address, browser }: LoginPlace): string[] {
  return [...(browser === undefined ? [] : [`browser ${browser}`]), `network ${networkOf(address)}`];
}

interface CountedPlace {
  /** The address, and the time from which its attempts count if an admin has unlocked it. */
  readonly account: string;
  readonly network: string;
  /** The place of an earlier login, if there is one. */
  readonly known: string | undefined;
}

function countedFor({ account, network, known }: CountedPlace): readonly AppliedLimit[] {
  const own = PER_ACCOUNT_AND_PLACE.map((limit) => ({ limit, of: `${known ?? network} ${account}` }));
  if (known !== undefined) return own;
  return [{ limit: PER_ADDRESS, of: network }, ...own, { limit: PER_ACCOUNT, of: account }];
}
