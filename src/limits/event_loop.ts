/**
 * Whether this process has more to do than it can: work that is due waits. A node that takes on more then only makes
 * everybody wait longer, so it says no to some at once, until what it has is done.
 */
import { setInterval, clearInterval } from 'node:timers';

const SAMPLE_MILLISECONDS = 20;
/** A signature of a post-quantum key or a collection of garbage is no overload: it must last. */
const SAMPLES_IN_A_ROW = 5;

export interface EventLoopSettings {
  /** How late a timer may be. */
  readonly latestMilliseconds: number;
}

export class EventLoop {
  readonly #latestMilliseconds: number;
  readonly #timer: NodeJS.Timeout;
  #last = performance.now();
  #late = 0;
  #delayMilliseconds = 0;

  constructor({ latestMilliseconds }: EventLoopSettings) {
    this.#latestMilliseconds = latestMilliseconds;
    this.#timer = setInterval(() => this.#sample(performance.now()), SAMPLE_MILLISECONDS);
    this.#timer.unref();
  }

  get overloaded(): boolean {
    return this.#late >= SAMPLES_IN_A_ROW;
  }

  /** How late the last timer was. */
  get delayMilliseconds(): number {
    return this.#delayMilliseconds;
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #sample(now: number): void {
    this.#delayMilliseconds = Math.max(0, now - this.#last - SAMPLE_MILLISECONDS);
    this.#last = now;
    this.#late = this.#delayMilliseconds > this.#latestMilliseconds ? this.#late + 1 : 0;
  }
}
