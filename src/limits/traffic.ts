/**
 * How much of a node's time anyone gets. An address pays for each request from its own bucket; a client that has proved
 * itself pays from the client's instead, so that the many clients behind one gateway don't pay for one another, and
 * nobody can use up what is a client's by naming it.
 */
import { EventLoop } from './event_loop.ts';
import { networkOf } from './network.ts';
import { TokenBuckets, type BucketSettings, type Taken } from './token_buckets.ts';

export interface TrafficSettings {
  readonly perClient: BucketSettings;
  readonly perAddress: BucketSettings;
  /** How late this process may be with its own work before it takes on no more. */
  readonly latestMilliseconds: number;
}

export interface Refusal {
  readonly status: 429 | 503;
  readonly retryAfterSeconds: number;
  readonly policy?: string | undefined;
  /** The first of a row, which alone is worth a record. */
  readonly first: boolean;
}

export class Traffic {
  readonly #clients: TokenBuckets;
  readonly #addresses: TokenBuckets;
  readonly #eventLoop: EventLoop;

  constructor({ perClient, perAddress, latestMilliseconds }: TrafficSettings) {
    this.#clients = new TokenBuckets(perClient);
    this.#addresses = new TokenBuckets(perAddress);
    this.#eventLoop = new EventLoop({ latestMilliseconds });
  }

  refusesAny(): Refusal | undefined {
    return this.#eventLoop.overloaded ? { status: 503, retryAfterSeconds: 1, first: false } : undefined;
  }

  refusesAddress(address: string): Refusal | undefined {
    return this.#refusal(this.#addresses, this.#addresses.take(networkOf(address), performance.now()));
  }

  /** Whether a request from there would be let in, without counting it. */
  addressHasLeft(address: string): boolean {
    return this.#addresses.look(networkOf(address), performance.now()).admitted;
  }

  /** For a client that has proved itself. */
  refusesClient(clientId: string): Refusal | undefined {
    return this.#refusal(this.#clients, this.#clients.take(clientId, performance.now()));
  }

  /** For somebody who names a client that has used up what it may: whether it is the client will be seen another time. */
  refusesWhoNames(clientId: string): Refusal | undefined {
    return this.#refusal(this.#clients, this.#clients.look(clientId, performance.now()));
  }

  /** A client has proved itself while it was answered: it pays, and its address gets back what it has paid. */
  charge(clientId: string, address: string): void {
    this.#clients.take(clientId, performance.now());
    this.#addresses.giveBack(networkOf(address));
  }

  /** The client will pay elsewhere for the same request. */
  giveBack(clientId: string): void {
    this.#clients.giveBack(clientId);
  }

  get eventLoopDelayMilliseconds(): number {
    return this.#eventLoop.delayMilliseconds;
  }

  stop(): void {
    this.#eventLoop.stop();
  }

  #refusal({ policy }: TokenBuckets, taken: Taken): Refusal | undefined {
    if (taken.admitted) return undefined;
    const { retryAfterSeconds, first } = taken;
    return { status: 429, retryAfterSeconds, policy, first };
  }
}
