/**
 * Whose turn it is, for clients that ask for more than their share while others ask too: each has so many requests under
 * way, and the rest of its requests wait for those. A client that is alone has the node to itself.
 */

const AT_ONCE = 4;
/** A client beside which nobody was seen for so long is alone. */
const ALONE_AFTER_MILLISECONDS = 250;
const WAITING_AT_MOST = 200;

interface Line {
  underWay: number;
  readonly waiting: (() => void)[];
}

export class Turns {
  readonly #lines = new Map<string, Line>();
  #last = '';
  #changedAt = -Infinity;

  /** Takes a turn: at once where that is `undefined`. Give it back with `leave`. `nowMilliseconds` as in token_buckets.ts. */
  take(key: string, nowMilliseconds: number): Promise<void> | undefined {
    if (key !== this.#last) {
      this.#last = key;
      this.#changedAt = nowMilliseconds;
    }
    const line = this.#lines.get(key);
    if (!line) {
      this.#lines.set(key, { underWay: 1, waiting: [] });
      return undefined;
    }
    if (line.underWay >= AT_ONCE && !this.#alone(nowMilliseconds))
      return new Promise((resolve) => line.waiting.push(resolve));
    line.underWay++;
    return undefined;
  }

  leave(key: string, nowMilliseconds: number): void {
    const line = this.#lines.get(key);
    if (!line) return;
    // of one that was alone more are under way than may be: their places are given up, not passed on
    const next = line.underWay <= AT_ONCE || this.#alone(nowMilliseconds) ? line.waiting.shift() : undefined;
    if (next) next();
    else if (--line.underWay === 0) this.#lines.delete(key);
  }

  #alone(nowMilliseconds: number): boolean {
    return nowMilliseconds - this.#changedAt > ALONE_AFTER_MILLISECONDS;
  }

  /** Whether so many wait that nobody else may. */
  full(key: string): boolean {
    return (this.#lines.get(key)?.waiting.length ?? 0) >= WAITING_AT_MOST;
  }
}
