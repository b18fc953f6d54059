/**
 * How much of a node's time anyone gets. An address pays for each request from its own bucket; a client that has proved
 * itself pays from the client's instead, so that the many clients behind one gateway don't pay for one another, and
 * nobody can use up what is a client's by naming it.
 */
import type { Quota } from '../base/quota.ts';
import { EventLoop } from './event_loop.ts';
import { networkOf } from './network.ts';
import { TokenBuckets, type BucketSettings, type Remaining, type Taken } from './token_buckets.ts';

export interface TrafficSettings {
  readonly perClient: BucketSettings;
  readonly perAddress: BucketSettings;
  /** How late this process may be with its own work before it takes on no more. */
  readonly latestMilliseconds: number;
}

export interface Refusal {
  readonly status: 429 | 503;
  readonly retryAfterSeconds: number;
  /** The limit that was reached, where it was one. */
  readonly quota?: Quota | undefined;
  /** The first of a row, which alone is worth a record. */
  readonly first: boolean;
}

export class Traffic {
  readonly #clients: TokenBuckets;
  readonly #addresses: TokenBuckets;
  readonly #eventLoop: EventLoop;
  readonly #refused = { client: 0, address: 0, overload: 0 };

  constructor({ perClient, perAddress, latestMilliseconds }: TrafficSettings) {
    this.#clients = new TokenBuckets('client', perClient);
    this.#addresses = new TokenBuckets('address', perAddress);
    this.#eventLoop = new EventLoop({ latestMilliseconds });
  }

  refusesAny(): Refusal | undefined {
    if (!this.#eventLoop.overloaded) return undefined;
    this.#refused.overload++;
    return { status: 503, retryAfterSeconds: 1, first: false };
  }

  refusesAddress(address: string): Refusal | undefined {
    return this.#refusal('address', this.#addresses.take(networkOf(address), performance.now()));
  }

  /** For a client that has proved itself. */
  refusesClient(clientId: string): Refusal | undefined {
    return this.#refusal('client', this.#clients.take(clientId, performance.now()));
  }

  /** For somebody who names a client that has used up what it may: whether it is the client will be seen another time. */
  refusesWhoNames(clientId: string): Refusal | undefined {
    return this.#refusal('client', this.#clients.look(clientId, performance.now()));
  }

  /** A client has proved itself while it was answered: it pays, and its address gets back what it has paid. */
  charge(clientId: string, address: string): void {
    this.#clients.take(clientId, performance.now());
    this.#addresses.giveBack(networkOf(address));
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

  stop(): void {
    this.#eventLoop.stop();
  }

  #refusal(whose: 'client' | 'address', taken: Taken): Refusal | undefined {
    if (taken.admitted) return undefined;
    this.#refused[whose]++;
    const { retryAfterSeconds, first } = taken;
    const { quota } = whose === 'client' ? this.#clients : this.#addresses;
    return { status: 429, retryAfterSeconds, quota, first };
  }
}
