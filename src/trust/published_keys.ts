/**
 * Public keys that others publish (`jwks_uri`), fetched through the guarded way out. Keys that have outlived their
 * max-age are read again before they are used; newer ones may be asked for every 30 seconds, so that a key that was
 * changed is found soon and nobody can be hammered through us.
 */
import { z } from 'zod';
import { addSeconds } from '../base/clock.ts';
import { PublicJwk } from '../clients/metadata/public_jwk.ts';
import type { Cause, Egress } from '../egress/egress.ts';
import { EgressFailed, passes } from '../egress/failure.ts';
import type { CachedResponse } from '../egress/response_cache.ts';

/** An unknown `kid` or a bad signature makes us look for newer keys, but not more often than this. */
const NEWER_AFTER_SECONDS = 30;
const RETRY_AFTER_SECONDS = 10;
/** Where there was no room on the way out, nobody was asked. */
const RETRY_WHEN_BUSY_SECONDS = 1;
/** While the owner's server does not answer, the keys it gave last are used for this long at most. */
const OUTAGE_SECONDS = 3_600;

export type Keys = readonly z.output<typeof PublicJwk>[];

/** Each of them is read, at a stranger's request. */
const KEYS_AT_MOST = 32;
const KeySet = z.object({ keys: z.array(z.unknown()).max(KEYS_AT_MOST) });
const LONG_AGO = new Date(0);

export class PublishedKeys {
  readonly #uri: string;
  readonly #egress: Pick<Egress, 'get' | 'last'>;
  readonly #onUnreadable: (error: unknown) => void;
  readonly #causeOf: () => Cause;
  #areAway = false;
  #keys: Keys = [];
  #fetchedAt = LONG_AGO;
  #usableUntil = LONG_AGO;
  #triedUntil = LONG_AGO;

  /**
   * `onUnreadable` hears of answers that are no key set; what could not be fetched is in the log already. `causeOf` says
   * for whom they are read.
   */
  constructor(
    uri: string,
    egress: Pick<Egress, 'get' | 'last'>,
    onUnreadable: (error: unknown) => void,
    causeOf: () => Cause,
  ) {
    this.#uri = uri;
    this.#egress = egress;
    this.#onUnreadable = onUnreadable;
    this.#causeOf = causeOf;
  }

  /** What was read last; ask `areUsable` before you use them. */
  get keys(): Keys {
    return this.#keys;
  }

  areUsable(now: Date): boolean {
    return now < this.#usableUntil;
  }

  /** Whether there are none for a reason that passes: nothing can be said about a signature then. */
  areAway(now: Date): boolean {
    return this.#areAway && !this.areUsable(now);
  }

  /** Whether it is too early to look for newer ones. */
  wereTried(now: Date): boolean {
    return now < this.#triedUntil;
  }

  /** Reads them again. Never throws: where nothing new can be had, the old ones last for a while. */
  async refresh(now: Date): Promise<void> {
    await this.#read(now).catch((error: unknown) => this.#outlast(now, error));
  }

  async #read(now: Date): Promise<void> {
    // keys that are usable and yet did not verify: only newer ones can help
    const newer = this.areUsable(now) ? { fetchedSince: addSeconds(now, -NEWER_AFTER_SECONDS) } : {};
    const answer = await this.#egress.get(this.#uri, { ...newer, ...this.#causeOf() });
    this.#areAway = false;
    this.#take(answer);
    this.#usableUntil = answer.freshUntil;
    this.#triedUntil = addSeconds(this.#fetchedAt, NEWER_AFTER_SECONDS);
  }

  #outlast(now: Date, error: unknown): void {
    if (!(error instanceof EgressFailed)) this.#onUnreadable(error);
    const failure = error instanceof EgressFailed ? error.failure : undefined;
    this.#areAway = failure !== undefined && passes(failure);
    this.#triedUntil = addSeconds(now, failure?.reason === 'busy' ? RETRY_WHEN_BUSY_SECONDS : RETRY_AFTER_SECONDS);
    // an owner that was changed meanwhile starts without keys
    const last = this.#fetchedAt === LONG_AGO ? this.#egress.last(this.#uri, this.#causeOf()) : undefined;
    if (last) this.#take(last);
    const lastUse = addSeconds(this.#fetchedAt, OUTAGE_SECONDS);
    if (this.#usableUntil < this.#triedUntil) {
      this.#usableUntil = this.#triedUntil < lastUse ? this.#triedUntil : lastUse;
    }
  }

  #take(answer: CachedResponse): void {
    this.#keys = publicKeysIn(answer.body);
    this.#fetchedAt = answer.fetchedAt;
  }
}

/** The keys of the set that can be used; others (of a type we don't know, or private by mistake) are left out. */
function publicKeysIn(body: Buffer): Keys {
  const { keys } = KeySet.parse(JSON.parse(body.toString('utf8')));
  return keys.flatMap((key) => PublicJwk.safeParse(key).data ?? []);
}
