/**
 * Detects overload by the delay of timers. An overloaded node that accepts more work delays all requests, so it refuses
 * new ones until its work is done.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setInterval, clearInterval } from 'node:timers';

const SAMPLE_MILLISECONDS = 20;
/** A process without requests need not wake fifty times a second: it samples less often until a timer is late. */
const SAMPLE_MILLISECONDS_AT_REST = 200;
const UNREAD_SAMPLES_AT_MOST = 50;
/** A signature with a post-quantum key or a garbage collection is no overload: the delay must last. */
const SAMPLES_IN_A_ROW = 5;

export interface EventLoopSettings {
  /** How late a timer may be. */
  readonly latestMilliseconds: number;
}

/** The event loop's delays in nanoseconds. */
export interface LoopDelays {
  readonly min: number;
  readonly max: number;
  readonly mean: number;
  readonly stddev: number;
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
}

const NO_DELAYS: LoopDelays = { min: 0, max: 0, mean: 0, stddev: 0, p50: 0, p90: 0, p99: 0 };

export class EventLoop {
  readonly #latestMilliseconds: number;
  #timer: NodeJS.Timeout | undefined;
  #every = SAMPLE_MILLISECONDS_AT_REST;
  #stopped = false;
  /** In nanoseconds, as Node measures them; paused while the process has no requests. */
  readonly #delays = monitorEventLoopDelay({ resolution: 10 });
  #last = 0;
  #unread = 0;
  #late = 0;
  #delayMilliseconds = 0;

  constructor({ latestMilliseconds }: EventLoopSettings) {
    this.#latestMilliseconds = latestMilliseconds;
    this.#sampleEvery(SAMPLE_MILLISECONDS_AT_REST);
  }

  /** Read at each request. The first request after a second without one makes it sample more often. */
  get overloaded(): boolean {
    this.#unread = 0;
    if (this.#resting) this.#sampleEvery(SAMPLE_MILLISECONDS);
    return this.#late >= SAMPLES_IN_A_ROW;
  }

  /** The delay of the last timer. */
  get delayMilliseconds(): number {
    return this.#delayMilliseconds;
  }

  /** The delays since the last call. */
  takeDelays(): LoopDelays {
    const { count, min, max, mean, stddev } = this.#delays;
    const percentile = (percent: number): number => this.#delays.percentile(percent);
    const taken =
      count === 0
        ? NO_DELAYS
        : { min, max, mean, stddev, p50: percentile(50), p90: percentile(90), p99: percentile(99) };
    this.#delays.reset();
    return taken;
  }

  stop(): void {
    this.#stopped = true;
    clearInterval(this.#timer);
    this.#delays.disable();
  }

  #sampleEvery(milliseconds: number): void {
    clearInterval(this.#timer);
    if (this.#stopped) return;
    this.#every = milliseconds;
    this.#unread = 0;
    this.#last = performance.now();
    this.#timer = setInterval(() => this.#sample(performance.now()), milliseconds);
    this.#timer.unref();
    if (this.#resting) this.#delays.disable();
    else this.#delays.enable();
  }

  get #resting(): boolean {
    return this.#every === SAMPLE_MILLISECONDS_AT_REST;
  }

  #sample(now: number): void {
    this.#delayMilliseconds = Math.max(0, now - this.#last - this.#every);
    this.#last = now;
    const late = this.#delayMilliseconds > this.#latestMilliseconds;
    this.#late = late ? this.#late + 1 : 0;
    if (late) this.#unread = 0;
    if (this.#resting) {
      if (late) this.#sampleEvery(SAMPLE_MILLISECONDS);
    } else if (++this.#unread > UNREAD_SAMPLES_AT_MOST) {
      this.#sampleEvery(SAMPLE_MILLISECONDS_AT_REST);
    }
  }
}
