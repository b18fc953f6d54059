/** argon2id for what people choose. Costly by design, so only a few run at once and the rest wait their turn. */
import { hash, verify, argon2id } from 'argon2';

/** OWASP's first choice for argon2id: 19 MiB, two passes, one lane. */
const COST = { type: argon2id, memoryCost: 19_456, timeCost: 2, parallelism: 1 } as const;

export class Argon2id {
  readonly #atOnce: number;
  readonly #waiting: (() => void)[] = [];
  #running = 0;

  constructor(atOnce: number) {
    this.#atOnce = atOnce;
  }

  hash(value: string): Promise<string> {
    return this.#inTurn(() => hash(value, COST));
  }

  verify(stored: string, value: string): Promise<boolean> {
    return this.#inTurn(() => verify(stored, value));
  }

  async #inTurn<T>(work: () => Promise<T>): Promise<T> {
    if (this.#running >= this.#atOnce) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#running++;
    try {
      return await work();
    } finally {
      // the place goes straight to whoever waited longest, so nobody can slip in between
      const next = this.#waiting.shift();
      if (next) next();
      else this.#running--;
    }
  }
}
