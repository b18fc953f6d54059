/**
 * How many requests may be under way at once whose signature is verified with a client's keys: for one client from one
 * network, so that a stranger who names a client takes nothing from its people elsewhere, and for one network in all.
 */
import { networkOf } from './rate_limit_key.ts';

/** Many times what a gateway of one client has under way; a verification takes less than a millisecond. */
const OF_CLIENT_AND_NETWORK_AT_MOST = 200;
const OF_NETWORK_AT_MOST = 400;

export class Verifications {
  readonly #underWay = new Map<string, number>();

  /** Counts one more until the returned function is called; `undefined` where there are too many. */
  begin(clientId: string, address: string): (() => void) | undefined {
    const network = networkOf(address);
    const pair = `${network} ${clientId}`;
    if (this.#count(pair) >= OF_CLIENT_AND_NETWORK_AT_MOST || this.#count(network) >= OF_NETWORK_AT_MOST)
      return undefined;
    for (const key of [pair, network]) this.#underWay.set(key, this.#count(key) + 1);
    return () => {
      for (const key of [pair, network]) {
        const left = this.#count(key) - 1;
        if (left > 0) this.#underWay.set(key, left);
        else this.#underWay.delete(key);
      }
    };
  }

  #count(key: string): number {
    return this.#underWay.get(key) ?? 0;
  }
}
