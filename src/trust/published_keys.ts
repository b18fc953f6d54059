/**
 * Public keys that other parties publish (`jwks_uri`), fetched through `egress`. Keys older than their max-age are
 * fetched again before use. Newer keys may be fetched every 30 seconds, so that the server finds a changed key soon and
 * can't be used to flood another server.
 */
import { z } from 'zod';
import { addSeconds } from '../base/clock.ts';
import { PublicJwk } from '../clients/metadata/public_jwk.ts';
import type { Egress, GetOptions } from '../egress/egress.ts';
import { EgressFailed, isTemporary } from '../egress/failure.ts';
import type { CachedResponse } from '../egress/response_cache.ts';

/** An unknown `kid` or an invalid signature causes a fetch of newer keys, at most once in this time. */
const NEWER_AFTER_SECONDS = 30;
const RETRY_AFTER_SECONDS = 10;
/** The retry interval if `egress` was busy and sent no request. */
const RETRY_WHEN_BUSY_SECONDS = 1;
/** While the owner's server is unreachable, its last keys remain usable for this long. */
const OUTAGE_SECONDS = 3_600;

export type Keys = readonly z.output<typeof PublicJwk>[];

/** The server parses each key at the request of unauthenticated senders. */
const KEYS_AT_MOST = 32;
const KeySet = z.object({ keys: z.array(z.unknown()).max(KEYS_AT_MOST) });
const LONG_AGO = new Date(0);

export class PublishedKeys {
  readonly #uri: string;
  readonly #egress: Pick<Egress, 'get' | 'last'>;
  readonly #onUnreadable: (error: unknown) => void;
  readonly #optionsOf: () => GetOptions;
  #areUnavailable = false;
  #keys: Keys = [];
  #fetchedAt = LONG_AGO;
  #usableUntil = LONG_AGO;
  #triedUntil = LONG_AGO;

  /**
   * `onUnreadable` is called with answers that are not a key set; `egress` logs failed requests itself. `optionsOf` tells
   * `egress` for whom the keys are fetched, and how old the first answer may be.
   */
  constructor(
    uri: string,
    egress: Pick<Egress, 'get' | 'last'>,
    onUnreadable: (error: unknown) => void,
    optionsOf: () => GetOptions,
  ) {
    this.#uri = uri;
    this.#egress = egress;
    this.#onUnreadable = onUnreadable;
    this.#optionsOf = optionsOf;
  }

  /** The keys that were read last; check `areUsable` before you use them. */
  get keys(): Keys {
    return this.#keys;
  }

  areUsable(now: Date): boolean {
    return now < this.#usableUntil;
  }

  /** True if there are no usable keys for a temporary reason: a signature can then be neither accepted nor refused. */
  areUnavailable(now: Date): boolean {
    return this.#areUnavailable && !this.areUsable(now);
  }

  /** True if it is too early to fetch newer keys. */
  wereTriedRecently(now: Date): boolean {
    return now < this.#triedUntil;
  }

  /** Fetches the keys again. Never throws: on failure, the old keys remain usable for a while. */
  async refresh(now: Date): Promise<void> {
    await this.#read(now).catch((error: unknown) => this.#outlast(now, error));
  }

  async #read(now: Date): Promise<void> {
    // usable keys did not verify a signature, so only newer ones can help
    const newer = this.areUsable(now) ? { fetchedSince: addSeconds(now, -NEWER_AFTER_SECONDS) } : {};
    const answer = await this.#egress.get(this.#uri, { ...this.#optionsOf(), ...newer });
    this.#areUnavailable = false;
    this.#take(answer);
    this.#usableUntil = answer.freshUntil;
    this.#triedUntil = addSeconds(this.#fetchedAt, NEWER_AFTER_SECONDS);
  }

  #outlast(now: Date, error: unknown): void {
    if (!(error instanceof EgressFailed)) this.#onUnreadable(error);
    const failure = error instanceof EgressFailed ? error.failure : undefined;
    this.#areUnavailable = failure !== undefined && isTemporary(failure);
    this.#triedUntil = addSeconds(now, failure?.reason === 'busy' ? RETRY_WHEN_BUSY_SECONDS : RETRY_AFTER_SECONDS);
    // an owner whose registration has changed starts with an empty instance
    const last = this.#fetchedAt === LONG_AGO ? this.#egress.last(this.#uri, this.#optionsOf()) : undefined;
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

/** The usable keys of the set; others (unknown types, or private keys published by mistake) are ignored. */
function publicKeysIn(body: Buffer): Keys {
  const { keys } = KeySet.parse(JSON.parse(body.toString('utf8')));
  return keys.flatMap((key) => PublicJwk.safeParse(key).data ?? []);
}
