/**
 * Limits how many signatures of client keys are verified at once: for one client from one network, so that an unknown
 * party that names a client takes nothing from the client's users elsewhere, and for one network in total.
 */
import { networkOf } from './rate_limit_key.ts';

/** Many times the load of one client's gateway; a verification takes less than a millisecond. */
const OF_CLIENT_AND_NETWORK_AT_MOST = 200;
const OF_NETWORK_AT_MOST = 400;

export class Verifications {
  readonly #underWay = new Map<string, number>();

  /** Counts a verification until the returned function is called; `undefined` if there are too many. */
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
