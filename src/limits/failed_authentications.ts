/**
 * Makes wrong client credentials cheap to refuse. Failures are counted for all nodes together: for a client in one
 * network, for a network with any client, and for a client in all networks. Beyond a limit, a failure gets 429 without
 * a count or an audit entry.
 *
 * Right credentials are always accepted. Logins are different: there the limit alone protects a person's password from
 * guessing. Guessing 256 random bits, a signature or 32 characters is hopeless, so this limit only saves work and
 * entries. To refuse right credentials would let others lock a client out: from any network, or from the same gateway
 * with an old secret.
 */
import { LRUCache } from 'lru-cache';
import type { RateLimiterPostgres } from 'rate-limiter-flexible';
import type pg from 'pg';
import { countAttempt, createCounter, keyFor, type CountedKey } from './failed_attempts.ts';
import { networkOf } from './rate_limit_key.ts';
import type { WorkerSync } from './worker_sync.ts';
import { TokenBuckets } from './rate_limit_buckets.ts';
import type { RateLimitRefusal } from './rate_limiter.ts';

/**
 * For a client alone and a network alone, the limit of one minute applies to this many minutes at once, multiplied by
 * them.
 */
const MINUTES = 10;
/** The writes of a node for failures of all clients and networks together. */
const WRITTEN_BY_A_NODE = { perSecond: 50, burst: 1_000 };
const REFUSED_AT_MOST = 20_000;

export class FailedAuthentications {
  readonly #perClientAndNetwork: RateLimiterPostgres;
  readonly #perClient: RateLimiterPostgres;
  readonly #perNetwork: RateLimiterPostgres;
  readonly #written: TokenBuckets;
  /** The keys that this node knows to be beyond a limit, until that expires. */
  readonly #refused = new LRUCache<string, RateLimitRefusal>({ max: REFUSED_AT_MOST });
  #counted = 0;
  #refusedCount = 0;

  /** `others`: the node's other processes, which share the count. */
  constructor(pool: pg.Pool, failuresPerMinute: number, others?: WorkerSync) {
    this.#written = new TokenBuckets('failures', WRITTEN_BY_A_NODE, others);
    const overMinutes = { points: failuresPerMinute * MINUTES, duration: 60 * MINUTES };
    this.#perClientAndNetwork = createCounter(pool, 'client_network_failures', {
      points: failuresPerMinute,
      duration: 60,
    });
    this.#perClient = createCounter(pool, 'client_failures', overMinutes);
    this.#perNetwork = createCounter(pool, 'network_failures', overMinutes);
  }

  /** The failures within the limits, on this node, since it started. */
  get counted(): number {
    return this.#counted;
  }

  /** The failures that were answered with 429. */
  get refused(): number {
    return this.#refusedCount;
  }

  /**
   * The refusal that a failure would get, as far as this node knows without a query; counts nothing. `clientId` is the
   * id in the request, whether that client exists or not, so that a limit does not reveal it.
   */
  refuses(clientId: string | undefined, address: string): RateLimitRefusal | undefined {
    if (this.#refused.size === 0) return undefined;
    for (const [, key] of this.#countedFor(clientId, networkOf(address))) {
      const refusal = this.#refused.get(key);
      if (!refusal) continue;
      const retryAfterSeconds = Math.max(1, Math.ceil(this.#refused.getRemainingTTL(key) / 1000));
      return { ...refusal, retryAfterSeconds, first: false };
    }
    return undefined;
  }

  /** Counts a failure; returns the refusal if that exceeds a limit. */
  async count(clientId: string | undefined, address: string): Promise<RateLimitRefusal | undefined> {
    const refusal = this.refuses(clientId, address) ?? (await this.#count(clientId, address));
    if (refusal) this.#refusedCount++;
    else this.#counted++;
    return refusal;
  }

  /** Counts a failure that was refused by `refuses`. */
  noteRefused(): void {
    this.#refusedCount++;
  }

  async #count(clientId: string | undefined, address: string): Promise<RateLimitRefusal | undefined> {
    const taken = this.#written.take('', performance.now());
    if (!taken.admitted) return { status: 429, retryAfterSeconds: taken.retryAfterSeconds, first: taken.first };
    for (const counted of this.#countedFor(clientId, networkOf(address))) {
      const admission = await countAttempt([counted]);
      if (admission.admitted) continue;
      const { retryAfterSeconds, first, quota } = admission;
      const refusal: RateLimitRefusal = { status: 429, retryAfterSeconds, first, quota };
      this.#refused.set(counted[1], refusal, { ttl: retryAfterSeconds * 1000 });
      return refusal;
    }
    return undefined;
  }

  /**
   * The counters of one failure. The narrowest comes first, so that a client that fails in one network stops counting
   * for all.
   */
  #countedFor(clientId: string | undefined, network: string): readonly CountedKey[] {
    const ofNetwork: CountedKey = [this.#perNetwork, keyFor(network)];
    if (clientId === undefined) return [ofNetwork];
    return [
      [this.#perClientAndNetwork, keyFor(`${clientId} ${network}`)],
      ofNetwork,
      // no network has this name
      [this.#perClient, keyFor(`${clientId} everywhere`)],
    ];
  }
}
