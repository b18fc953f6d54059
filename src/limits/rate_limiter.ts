/**
 * How much of a node's time anyone gets. An address pays for each request from its own bucket; a client that has proved
 * itself pays from the client's instead, so that the many clients behind one gateway don't pay for one another, and
 * nobody can use up what is a client's by naming it. A client that registered itself pays from both: an address that
 * registers many clients has one share all the same.
 */
import type { Quota } from '../base/quota.ts';
import { EventLoop, type LoopDelays } from './event_loop.ts';
import { networkOf } from './rate_limit_key.ts';
import type { WorkerSync } from './worker_sync.ts';
import { TokenBuckets, type BucketSettings, type Remaining, type Taken } from './token_buckets.ts';
import { FairQueue } from './fair_queue.ts';

export interface RateLimiterSettings {
  readonly perClient: BucketSettings;
  readonly perAddress: BucketSettings;
  /** How late this process may be with its own work before it takes on no more. */
  readonly latestMilliseconds: number;
  /** Other processes of this node, which let in the same clients and addresses. */
  readonly others?: WorkerSync | undefined;
}

/** A client that has proved itself. */
export interface ProvenClient {
  readonly clientId: string;
  /** Whether it registered itself, so that no admin of this server has looked at it. */
  readonly selfRegistered: boolean;
  readonly address: string;
}

export interface RateLimitRefusal {
  readonly status: 429 | 503;
  readonly retryAfterSeconds: number;
  /** For a 503; it has too much to do, unless told otherwise. */
  readonly why?: string;
  /** The limit that was reached, where it was one. */
  readonly quota?: Quota | undefined;
  /** The first of a row, which alone is worth a record. */
  readonly first: boolean;
}

/** Long enough that whoever asks again at once gains nothing, short enough for one who has merely been quick. */
const HELD_BACK_MILLISECONDS = { least: 100, most: 300 };
const HELD_BACK_AT_MOST = 1_000;
/** A client that was refused is looked for in front of everything else for so long. */
const LATELY_MILLISECONDS = 1_000;

export class RateLimiter {
  readonly #clients: TokenBuckets;
  readonly #addresses: TokenBuckets;
  readonly #eventLoop: EventLoop;
  readonly #turns = new FairQueue();
  #clientRefusedAt = -Infinity;
  #heldBack = 0;
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

  /** Whether a request from there would be let in, without counting it. */
  addressHasLeft(address: string): boolean {
    return this.#addresses.look(networkOf(address), performance.now()).admitted;
  }

  /** For a client that has proved itself. Within its limit it is never at fault for having to wait: that is a 503. */
  refusesClient(client: ProvenClient): RateLimitRefusal | undefined {
    const now = performance.now();
    if (client.selfRegistered) {
      const refusal = this.#refusal('address', this.#addresses.take(networkOf(client.address), now));
      if (refusal) return refusal;
    }
    const retryAfterSeconds = this.#turns.refuses(shareOf(client), now);
    if (retryAfterSeconds !== undefined) return this.#overload(retryAfterSeconds);
    return this.#refusal('client', this.#clients.take(client.clientId, now));
  }

  /** For somebody who names a client that has used up what it may: whether it is the client will be seen another time. */
  refusesWhoNames(clientId: string): RateLimitRefusal | undefined {
    return this.#refusal('client', this.#clients.look(clientId, performance.now()));
  }

  /** Whether any client was refused a moment ago: only then is it worth looking for who is named. */
  get refusedClientsLately(): boolean {
    return performance.now() - this.#clientRefusedAt < LATELY_MILLISECONDS;
  }

  /** For somebody who names a client that was refused already, and has nothing yet. */
  refusesAgain(clientId: string): RateLimitRefusal | undefined {
    return this.#refusal('client', this.#clients.refuseAgain(clientId, performance.now()));
  }

  /**
   * A client that has proved itself begins with what costs time: at once, or when it is its turn. It must `leave`, unless
   * it hears `false`: its turn did not come in time, and it has not paid for it.
   */
  turn(client: ProvenClient): Promise<boolean> | undefined {
    return this.#turns.take(shareOf(client), performance.now())?.then((comesOn) => {
      if (comesOn) return true;
      this.#refused.overload++;
      this.giveBack(client);
      return false;
    });
  }

  leave(client: ProvenClient): void {
    this.#turns.leave(shareOf(client), performance.now());
  }

  /** Refusals of a row are answered a little later: whoever asks again as soon as it is answered then asks less. */
  holdBack({ status, first }: RateLimitRefusal): Promise<void> | undefined {
    if (status !== 429 || first || this.#heldBack >= HELD_BACK_AT_MOST) return undefined;
    this.#heldBack++;
    const { least, most } = HELD_BACK_MILLISECONDS;
    return new Promise((resolve) => {
      // not all at the same moment, in which they would hold up everybody else
      setTimeout(
        () => {
          this.#heldBack--;
          resolve();
        },
        least + Math.random() * (most - least),
      );
    });
  }

  /** A client has proved itself while it was answered: it pays, and its address gets back what it alone should pay. */
  charge({ clientId, selfRegistered, address }: ProvenClient): void {
    this.#clients.pay(clientId, performance.now());
    if (!selfRegistered) this.#addresses.giveBack(networkOf(address));
  }

  /** The client will pay elsewhere for the same request. */
  giveBack({ clientId, selfRegistered, address }: ProvenClient): void {
    this.#clients.giveBack(clientId);
    if (selfRegistered) this.#addresses.giveBack(networkOf(address));
  }

  /** What a client has left, once that is less than half: until then it is no news, and would be paid at every token. */
  remaining(clientId: string): Remaining | undefined {
    return this.#clients.low(clientId);
  }

  /** How many requests were refused, by what for. */
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

  #refusal(whose: 'client' | 'address', taken: Taken): RateLimitRefusal | undefined {
    if (taken.admitted) return undefined;
    this.#refused[whose]++;
    if (whose === 'client') this.#clientRefusedAt = performance.now();
    const { retryAfterSeconds, first } = taken;
    const { quota } = whose === 'client' ? this.#clients : this.#addresses;
    return { status: 429, retryAfterSeconds, quota, first };
  }
}

/** Whose requests wait for one another: a client's, and those of all clients of one address that registered themselves. */
function shareOf({ clientId, selfRegistered, address }: ProvenClient): string {
  // no client has a space in its name
  return selfRegistered ? `self-registered ${networkOf(address)}` : clientId;
}
