/**
 * Bounds how often secrets that operators chose are compared with argon2id: each costs a hash. Per client and network on
 * each node; and per client, but for networks in which it has shown its secret before, so that guesses from elsewhere
 * don't hold it up when a node has just started and remembers no secret.
 */
import { RateLimiterMemory, RateLimiterRes, type RateLimiterPostgres } from 'rate-limiter-flexible';
import type pg from 'pg';
import { createCounter, keyFor } from './failed_attempts.ts';
import { networkOf } from './rate_limit_key.ts';

const PER_CLIENT_AND_NETWORK = { points: 30, duration: 60 };
const PER_CLIENT = { points: 120, duration: 60 };
const KNOWN_FOR_SECONDS = 30 * 86_400;

export type Comparison =
  | { readonly admitted: true; /** Call it when the secret was the right one. */ right(): Promise<void> }
  | { readonly admitted: false; readonly retryAfterSeconds: number };

export class SecretGuesses {
  readonly #perClientAndNetwork = new RateLimiterMemory(PER_CLIENT_AND_NETWORK);
  readonly #perClient = new RateLimiterMemory(PER_CLIENT);
  /** Not a limit: the networks in which a client has shown its secret. */
  readonly #known: RateLimiterPostgres;

  constructor(pool: pg.Pool) {
    this.#known = createCounter(pool, 'client_known', { points: 1, duration: KNOWN_FOR_SECONDS });
  }

  /** Whether another comparison may be made. The client's own secret, once seen, needs none. */
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
        // only a help for later: a client that was right is not refused because this can't be written now
        await this.#known.set(both, 1, KNOWN_FOR_SECONDS).catch(() => {});
      },
    };
  }
}
