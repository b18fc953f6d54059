/** Lets a few requests out at a time: so many in all, so many to one host; the others wait for their turn. */
import type { Limits } from './limits.ts';

interface Waiting {
  readonly host: string;
  admit(): void;
}

type GateLimits = Pick<Limits, 'atOnce' | 'atOncePerHost' | 'waiting'>;

export class Gate {
  readonly #limits: GateLimits;
  readonly #outside = new Map<string, number>();
  readonly #waiting = new Set<Waiting>();
  #outsideInAll = 0;

  constructor(limits: GateLimits) {
    this.#limits = limits;
  }

  /** Whether so many wait already that nobody else may. */
  full(host: string): boolean {
    return !this.#free(host) && this.#waiting.size >= this.#limits.waiting;
  }

  /** Resolves when it is the caller's turn, with what ends it; rejects with the signal's reason when that comes first. */
  async leave(host: string, signal: AbortSignal): Promise<() => void> {
    signal.throwIfAborted();
    if (!this.#free(host)) await this.#turn(host, signal);
    else this.#count(host, 1);
    return () => {
      this.#count(host, -1);
      this.#admitNext();
    };
  }

  #turn(host: string, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const giveUp = (): void => {
        this.#waiting.delete(waiting);
        reject(signal.reason as Error);
      };
      const waiting: Waiting = {
        host,
        admit: () => {
          signal.removeEventListener('abort', giveUp);
          this.#waiting.delete(waiting);
          this.#count(host, 1);
          resolve();
        },
      };
      this.#waiting.add(waiting);
      signal.addEventListener('abort', giveUp, { once: true });
    });
  }

  /** The first in line whose host has room: a slow host does not hold up those behind it. */
  #admitNext(): void {
    for (const waiting of this.#waiting) {
      if (this.#free(waiting.host)) return waiting.admit();
    }
  }

  #free(host: string): boolean {
    return this.#outsideInAll < this.#limits.atOnce && (this.#outside.get(host) ?? 0) < this.#limits.atOncePerHost;
  }

  #count(host: string, by: 1 | -1): void {
    const there = (this.#outside.get(host) ?? 0) + by;
    this.#outsideInAll += by;
    if (there === 0) this.#outside.delete(host);
    else this.#outside.set(host, there);
  }
}
