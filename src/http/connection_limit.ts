/** Limits the connections of a process on all its listeners together. */

/** A full node stays full for a while, so it is reported only once in this time. */
const REPORT_INTERVAL_MILLISECONDS = 60_000;

export class ConnectionLimit {
  readonly atMost: number;
  readonly #onFull: () => void;
  #open = 0;
  #reportedAt = -Infinity;

  /** Calls `onFull` when the limit is reached, at most once a minute. */
  constructor(atMost: number, onFull: () => void = () => {}) {
    this.atMost = atMost;
    this.#onFull = onFull;
  }

  /** Counts a new connection. Returns whether another one must be closed for it. */
  opened(): boolean {
    this.#open++;
    if (this.#open <= this.atMost) return false;
    this.reportFull();
    return true;
  }

  closed(): void {
    this.#open--;
  }

  reportFull(): void {
    const now = performance.now();
    if (now - this.#reportedAt < REPORT_INTERVAL_MILLISECONDS) return;
    this.#reportedAt = now;
    this.#onFull();
  }
}
