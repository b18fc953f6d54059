/**
 * Limits how much of a node's time each client and network gets. A network pays for each request from its own bucket.
 * An authenticated client pays from the client's bucket instead, so that clients behind one gateway don't pay for one
 * another, and no other party can use up a client's share with its name. A self-registered client pays from both: a
 * network that registers many clients still has one share.
 */
import type { Quota } from '../base/quota.ts';
import { EventLoop, type LoopDelays } from './event_loop.ts';
import { networkOf } from './rate_limit_key.ts';
import type { WorkerSync } from './worker_sync.ts';
import { TokenBuckets, type BucketSettings, type Remaining, type BucketResult } from './rate_limit_buckets.ts';
import { FairQueue } from './fair_queue.ts';

export interface RateLimiterSettings {
  readonly perClient: BucketSettings;
  readonly perAddress: BucketSettings;
  /** How late this process's timers may be before it refuses requests. */
  readonly latestMilliseconds: number;
  /** The node's other processes, which admit the same clients and addresses. */
  readonly others?: WorkerSync | undefined;
}

/** A client that has authenticated. */
export interface ProvenClient {
  readonly clientId: string;
  /** Whether it registered itself, so that no admin has reviewed it. */
  readonly selfRegistered: boolean;
  readonly address: string;
}

export interface RateLimitRefusal {
  readonly status: 429 | 503;
  readonly retryAfterSeconds: number;
  /** For a 503: the reason, if it is not overload. */
  readonly why?: string;
  /** The limit that was reached, if there was one. */
  readonly quota?: Quota | undefined;
  /** The first of consecutive refusals, and the only one that is recorded. */
  readonly first: boolean;
}

/** Long enough to slow down a sender that repeats at once, short enough for one that was only quick. */
const DELAY_MILLISECONDS = { least: 100, most: 300 };
const DELAYED_AT_MOST = 1_000;
/** How long after a refusal requests are checked first for clients over their limit. */
const RECENT_MILLISECONDS = 1_000;

export class RateLimiter {
  readonly #clients: TokenBuckets;
  readonly #addresses: TokenBuckets;
  readonly #eventLoop: EventLoop;
  readonly #queue = new FairQueue();
  #clientRefusedAt = -Infinity;
  #delayed = 0;
  readonly #refused = { client: 0, address: 0, overload: 0 };

  constructor({ perClient, perAddress, latestMilliseconds, others }: RateLimiterSettings) {
    this.#clients = new TokenBuckets('client', perClient, others);
    this.#addresses = new TokenBuckets('address', perAddress, others);
    this.#eventLoop = new EventLoop({ latestMilliseconds });
  }

  refusesAny(): RateLimitRefusal | undefined {
    return this.#eventLoop.overloaded ? this.#overload(1) : undefined;
  }

  refusesAddress(address: string): RateLimitRefusal | undefined {
    return this.#refusal('address', this.#addresses.take(networkOf(address), performance.now()));
  }

  /** Whether a request from this address would be admitted, without counting it. */
  addressHasLeft(address: string): boolean {
    return this.#addresses.look(networkOf(address), performance.now()).admitted;
  }

  /** For an authenticated client. If it must wait within its limit, the fault is not the client's: that is a 503. */
  refusesClient(client: ProvenClient): RateLimitRefusal | undefined {
    const now = performance.now();
    if (client.selfRegistered) {
      const refusal = this.#refusal('address', this.#addresses.take(networkOf(client.address), now));
      if (refusal) return refusal;
    }
    const retryAfterSeconds = this.#queue.refuses(shareOf(client), now);
    if (retryAfterSeconds !== undefined) return this.#overload(retryAfterSeconds);
    return this.#refusal('client', this.#clients.take(client.clientId, now));
  }

  /** For a request that names a client over its limit. The request is refused without authentication. */
  refusesWhoNames(clientId: string): RateLimitRefusal | undefined {
    return this.#refusal('client', this.#clients.look(clientId, performance.now()));
  }

  /** Whether any client was refused lately. Otherwise the name in a request need not be read. */
  get refusedClientsLately(): boolean {
    return performance.now() - this.#clientRefusedAt < RECENT_MILLISECONDS;
  }

  /** For a request that names a client that was refused before and still has nothing left. */
  refusesAgain(clientId: string): RateLimitRefusal | undefined {
    return this.#refusal('client', this.#clients.refuseAgain(clientId, performance.now()));
  }

  /**
   * Admits an authenticated client to work that takes time: `undefined` at once, or a promise for its turn. The caller
   * must `leave`, unless the promise resolves with `false`: the turn did not come in time, and the client has its
   * payment back.
   */
  turn(client: ProvenClient): Promise<boolean> | undefined {
    return this.#queue.take(shareOf(client), performance.now())?.then((admitted) => {
      if (admitted) return true;
      this.#refused.overload++;
      this.giveBack(client);
      return false;
    });
  }

  leave(client: ProvenClient): void {
    this.#queue.leave(shareOf(client), performance.now());
  }

  /**
   * Delays the response to a repeated refusal, so that a sender that repeats after each response sends fewer requests.
   */
  holdBack({ status, first }: RateLimitRefusal): Promise<void> | undefined {
    if (status !== 429 || first || this.#delayed >= DELAYED_AT_MOST) return undefined;
    this.#delayed++;
    const { least, most } = DELAY_MILLISECONDS;
    return new Promise((resolve) => {
      // at random times, so that they do not all delay other requests at once
      setTimeout(
        () => {
          this.#delayed--;
          resolve();
        },
        least + Math.random() * (most - least),
      );
    });
  }

  /** For a client that authenticated during the request: it pays, and its network gets its payment back. */
  charge({ clientId, selfRegistered, address }: ProvenClient): void {
    this.#clients.pay(clientId, performance.now());
    if (!selfRegistered) this.#addresses.giveBack(networkOf(address));
  }

  /** Returns a payment of a client that pays elsewhere for the same request. */
  giveBack({ clientId, selfRegistered, address }: ProvenClient): void {
    this.#clients.giveBack(clientId);
    if (selfRegistered) this.#addresses.giveBack(networkOf(address));
  }

  /** What a client has left, once less than half; `undefined` before, so that most responses need no header. */
  remaining(clientId: string): Remaining | undefined {
    return this.#clients.low(clientId);
  }

  /** The number of refused requests, by reason. */
  get refused(): Readonly<Record<string, number>> {
    return this.#refused;
  }

  get eventLoopDelayMilliseconds(): number {
    return this.#eventLoop.delayMilliseconds;
  }

  /** See `EventLoop.takeDelays`. */
  takeEventLoopDelays(): LoopDelays {
    return this.#eventLoop.takeDelays();
  }

  stop(): void {
    this.#eventLoop.stop();
  }

  #overload(retryAfterSeconds: number): RateLimitRefusal {
    this.#refused.overload++;
    return { status: 503, retryAfterSeconds, first: false };
  }

  #refusal(whose: 'client' | 'address', taken: BucketResult): RateLimitRefusal | undefined {
    if (taken.admitted) return undefined;
    this.#refused[whose]++;
    if (whose === 'client') this.#clientRefusedAt = performance.now();
    const { retryAfterSeconds, first } = taken;
    const { quota } = whose === 'client' ? this.#clients : this.#addresses;
    return { status: 429, retryAfterSeconds, quota, first };
  }
}

/** The key of requests that share a queue: a client's, or those of all self-registered clients of a network. */
function shareOf({ clientId, selfRegistered, address }: ProvenClient): string {
  // no client id has a space
  return selfRegistered ? `self-registered ${networkOf(address)}` : clientId;
}
