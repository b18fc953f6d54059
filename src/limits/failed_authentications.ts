/**
 * Makes wrong credentials of clients ever cheaper to refuse. What is wrong is counted, for all nodes together: for a
 * client in one network, for a network whomever it names, for a client wherever it is named. Past a limit what is wrong
 * gets 429 and leaves neither a count nor a record.
 *
 * What is right is let in however much was counted. A login can't be treated so: there the limit is all that stands
 * between a guesser and a person's password. Nobody guesses 256 random bits, a signature or 32 characters, so the limit
 * is about work and records, and refusing a client that is who it says it is would only let others lock it out: from
 * anywhere, or from behind the same gateway with a secret that was rotated last week.
 */
import { LRUCache } from 'lru-cache';
import type { RateLimiterPostgres } from 'rate-limiter-flexible';
import type pg from 'pg';
import { countAttempt, createCounter, keyFor, type Counted } from './failed_attempts.ts';
import { networkOf } from './rate_limit_key.ts';
import type { WorkerSync } from './worker_sync.ts';
import { TokenBuckets } from './token_buckets.ts';
import type { RateLimitRefusal } from './rate_limiter.ts';

/** In how many minutes a client, and a network, may fail as often as the two together may in each of them. */
const MINUTES = 10;
/** However many clients are named from however many networks: more than this a node does not write down. */
const WRITTEN_BY_A_NODE = { perSecond: 50, burst: 1_000 };
const REFUSED_AT_MOST = 20_000;

export class FailedAuthentications {
  readonly #perClientAndNetwork: RateLimiterPostgres;
  readonly #perClient: RateLimiterPostgres;
  readonly #perNetwork: RateLimiterPostgres;
  readonly #written: TokenBuckets;
  /** Whom this node knows to be past a limit, until that runs out. */
  readonly #refused = new LRUCache<string, RateLimitRefusal>({ max: REFUSED_AT_MOST });
  #counted = 0;
  #refusedCount = 0;

  /** `others`: processes of this node that count with it. */
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

  /** Failures that were within the limits, on this node, since it started. */
  get counted(): number {
    return this.#counted;
  }

  /** Failures that were answered 429. */
  get refused(): number {
    return this.#refusedCount;
  }

  /**
   * `clientId` is the name that was given, whether there is such a client or not: nobody is to learn that from a limit.
   * What a failure would be answered, as far as this node knows without asking; nothing is counted.
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

  /** Counts a failure; answers with what it is refused with where that makes too many. */
  async count(clientId: string | undefined, address: string): Promise<RateLimitRefusal | undefined> {
    const refusal = this.refuses(clientId, address) ?? (await this.#count(clientId, address));
    if (refusal) this.#refusedCount++;
    else this.#counted++;
    return refusal;
  }

  /** For one that was refused without being counted. */
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

  /** What one failure counts for; the narrowest first, so that a client that fails in one place stops counting for all. */
  #countedFor(clientId: string | undefined, network: string): readonly Counted[] {
    const ofNetwork: Counted = [this.#perNetwork, keyFor(network)];
    if (clientId === undefined) return [ofNetwork];
    return [
      [this.#perClientAndNetwork, keyFor(`${clientId} ${network}`)],
      ofNetwork,
      // no network is called that
      [this.#perClient, keyFor(`${clientId} everywhere`)],
    ];
  }
}
