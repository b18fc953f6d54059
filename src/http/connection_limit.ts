/** How many connections a process holds on all of its listeners together. */

/** A node that is full stays so for a while: it is said once in that time. */
const TOLD_EVERY_MILLISECONDS = 60_000;

export class ConnectionLimit {
  readonly atMost: number;
  readonly #onFull: () => void;
  #open = 0;
  #toldAt = -Infinity;

  /** `onFull` is called when a connection has to go for another one, once a minute at most. */
  constructor(atMost: number, onFull: () => void = () => {}) {
    this.atMost = atMost;
    this.#onFull = onFull;
  }

  /** One more is open: answers whether another one has to go. */
  opened(): boolean {
    this.#open++;
    if (this.#open <= this.atMost) return false;
    this.tellFull();
    return true;
  }

  closed(): void {
    this.#open--;
  }

  tellFull(): void {
    const now = performance.now();
    if (now - this.#toldAt < TOLD_EVERY_MILLISECONDS) return;
    this.#toldAt = now;
    this.#onFull();
  }
}
