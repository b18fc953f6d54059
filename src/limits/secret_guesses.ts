/** Bounds how often a secret that an operator chose is compared with argon2id, per client and node: each costs a hash. */
import { RateLimiterMemory } from 'rate-limiter-flexible';

const PER_CLIENT = { points: 30, duration: 60 };

export class SecretGuesses {
  readonly #limiter = new RateLimiterMemory(PER_CLIENT);

  /** Whether another comparison may be made. The client's own secret, once seen, needs none. */
  mayCompare(clientId: string): Promise<boolean> {
    return this.#limiter.consume(clientId).then(
      () => true,
      () => false,
    );
  }
}
