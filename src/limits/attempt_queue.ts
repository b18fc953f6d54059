/**
 * Queues of this process's attempts that wait for a free place, one for each full counter. Only the first attempt of a
 * queue asks the database again: when an attempt of this process ends, and ten times a second for attempts of other
 * processes.
 */
const ASKING_MILLISECONDS = 100;
const IN_ONE_LINE_AT_MOST = 100;
const IN_ALL_LINES_AT_MOST = 1_000;

interface WaitingAttempt {
  woken: boolean;
  wake: () => void;
}

export interface Place {
  /** Resolves when this attempt may ask again, or after `longestMilliseconds`. */
  turn(longestMilliseconds: number): Promise<void>;
  /** Must be called when the attempt no longer waits. */
  leave(): void;
}

export class AttemptQueue {
  readonly #lines = new Map<string, Set<WaitingAttempt>>();
  #waiting = 0;

  /** Joins the end of the queue `line`; `undefined` if too many wait already. */
  join(line: string): Place | undefined {
    const waiting = this.#lines.get(line) ?? new Set<WaitingAttempt>();
    if (waiting.size >= IN_ONE_LINE_AT_MOST || this.#waiting >= IN_ALL_LINES_AT_MOST) return undefined;
    const own: WaitingAttempt = { woken: false, wake: () => (own.woken = true) };
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

  /** Notifies the first attempt of a queue that a place may be free. */
  wake(line: string): void {
    const [first] = this.#lines.get(line) ?? [];
    first?.wake();
  }
}

/** Resolves when the attempt is woken, or was woken since it last slept, or after the time. */
function sleep(waiting: WaitingAttempt, milliseconds: number): Promise<void> {
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
