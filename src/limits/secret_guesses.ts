/**
 * Limits how often an operator-chosen secret is compared with argon2id, because each comparison costs a hash. There is
 * a limit for a client and network, and one for a client that does not apply to networks in which it has used its
 * secret before: guesses from elsewhere then don't block a client on a restarted node, which caches no secrets.
 */
import { RateLimiterMemory, RateLimiterRes, type RateLimiterPostgres } from 'rate-limiter-flexible';
import type pg from 'pg';
import { createCounter, keyFor } from './failed_attempts.ts';
import { networkOf } from './rate_limit_key.ts';

const PER_CLIENT_AND_NETWORK = { points: 30, duration: 60 };
const PER_CLIENT = { points: 120, duration: 60 };
const KNOWN_FOR_SECONDS = 30 * 86_400;

export type Comparison =
  | { readonly admitted: true; /* Call it if the secret was right. */ right(): Promise<void> }
  | { readonly admitted: false; readonly retryAfterSeconds: number };

export class SecretGuesses {
  readonly #perClientAndNetwork = new RateLimiterMemory(PER_CLIENT_AND_NETWORK);
  readonly #perClient = new RateLimiterMemory(PER_CLIENT);
  /** Not a limit: the networks in which a client has used its secret. */
  readonly #known: RateLimiterPostgres;

  constructor(pool: pg.Pool) {
    this.#known = createCounter(pool, 'client_known', { points: 1, duration: KNOWN_FOR_SECONDS });
  }

  /** Counts a comparison and returns whether it may be made. A secret that this node has cached needs none. */
  async admit(clientId: string, address: string): Promise<Comparison> {
    const both = keyFor(`${clientId} ${networkOf(address)}`);
    try {
      await this.#perClientAndNetwork.consume(both);
      await this.#perClient.consume(clientId).catch(async (refused: unknown) => {
        if (!(await this.#known.get(both))) throw refused;
      });
    } catch (refused) {
      if (!(refused instanceof RateLimiterRes)) throw refused;
      return { admitted: false, retryAfterSeconds: Math.max(1, Math.ceil(refused.msBeforeNext / 1000)) };
    }
    return {
      admitted: true,
      right: async () => {
        await Promise.all([this.#perClientAndNetwork.reward(both), this.#perClient.reward(clientId)]);
        // only an optimization: a client with the right secret must not fail because this can't be written
        await this.#known.set(both, 1, KNOWN_FOR_SECONDS).catch(() => {});
      },
    };
  }
}
