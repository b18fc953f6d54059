/**
 * Where attempts of this process wait for others that are under way, in one line for each counter without a free place.
 * Only the first of a line asks the database again: when an attempt of this process has ended, and ten times a second
 * for those of other processes.
 */
const ASKING_MILLISECONDS = 100;
const IN_ONE_LINE_AT_MOST = 100;
const IN_ALL_LINES_AT_MOST = 1_000;

interface Waiting {
  woken: boolean;
  wake: () => void;
}

export interface Place {
  /** Resolves when this attempt may ask again, or when the time is over. */
  turn(longestMilliseconds: number): Promise<void>;
  /** Must be called once the attempt no longer waits. */
  leave(): void;
}

export class AttemptQueue {
  readonly #lines = new Map<string, Set<Waiting>>();
  #waiting = 0;

  /** A place at the end of the line; `undefined` where too many wait already. */
  join(line: string): Place | undefined {
    const waiting = this.#lines.get(line) ?? new Set<Waiting>();
    if (waiting.size >= IN_ONE_LINE_AT_MOST || this.#waiting >= IN_ALL_LINES_AT_MOST) return undefined;
    const own: Waiting = { woken: false, wake: () => (own.woken = true) };
    this.#lines.set(line, waiting.add(own));
    this.#waiting++;
    return {
      turn: (longestMilliseconds) => {
        const [first] = waiting;
        return sleep(own, first === own ? Math.min(ASKING_MILLISECONDS, longestMilliseconds) : longestMilliseconds);
      },
      leave: () => {
        if (!waiting.delete(own)) return;
        this.#waiting--;
        if (waiting.size === 0) this.#lines.delete(line);
        else this.wake(line);
      },
    };
  }

  /** Tells the first of a line that a place may be free. */
  wake(line: string): void {
    const [first] = this.#lines.get(line) ?? [];
    first?.wake();
  }
}

/** Until it is woken, or was since it last slept, or the time is over. */
function sleep(waiting: Waiting, milliseconds: number): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      waiting.woken = false;
      waiting.wake = () => (waiting.woken = true);
      resolve();
    };
    const timer = setTimeout(end, milliseconds);
    waiting.wake = end;
    if (waiting.woken) end();
  });
}
