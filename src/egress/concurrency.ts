/** Lets a few requests out at a time: so many in all, to one host, and for one asker; the others wait for their turn. */
import type { Limits } from './limits.ts';

/** Where a request goes, and who caused it where that is a stranger: a network, as text. */
export interface Leaving {
  readonly host: string;
  readonly asker?: string | undefined;
}

interface Waiting extends Leaving {
  admit(): void;
}

type GateLimits = Pick<Limits, 'atOnce' | 'atOncePerHost' | 'atOncePerAsker' | 'waiting' | 'waitingPerAsker'>;

export class ConcurrencyLimit {
  readonly #limits: GateLimits;
  readonly #outsideByHost = new Map<string, number>();
  readonly #outsideByAsker = new Map<string, number>();
  readonly #waiting = new Set<Waiting>();
  #outsideInAll = 0;

  constructor(limits: GateLimits) {
    this.#limits = limits;
  }

  /** Whether so many wait already that this one may not. */
  full(leaving: Leaving): boolean {
    if (this.#free(leaving)) return false;
    if (this.#waiting.size >= this.#limits.waiting) return true;
    const { asker } = leaving;
    if (asker === undefined) return false;
    return [...this.#waiting].filter((one) => one.asker === asker).length >= this.#limits.waitingPerAsker;
  }

  /** Resolves when it is the caller's turn, with what ends it; rejects with the signal's reason when that comes first. */
  async leave(leaving: Leaving, signal: AbortSignal): Promise<() => void> {
    signal.throwIfAborted();
    if (!this.#free(leaving)) await this.#turn(leaving, signal);
    else this.#count(leaving, 1);
    return () => {
      this.#count(leaving, -1);
      this.#admitNext();
    };
  }

  #turn(leaving: Leaving, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const giveUp = (): void => {
        this.#waiting.delete(waiting);
        reject(signal.reason as Error);
      };
      const waiting: Waiting = {
        ...leaving,
        admit: () => {
          signal.removeEventListener('abort', giveUp);
          this.#waiting.delete(waiting);
          this.#count(leaving, 1);
          resolve();
        },
      };
      this.#waiting.add(waiting);
      signal.addEventListener('abort', giveUp, { once: true });
    });
  }

  /** The first in line whose host and asker have room: a slow host does not hold up those behind it. */
  #admitNext(): void {
    for (const waiting of this.#waiting) {
      if (this.#free(waiting)) return waiting.admit();
    }
  }

  #free({ host, asker }: Leaving): boolean {
    const { atOnce, atOncePerHost, atOncePerAsker } = this.#limits;
    if (this.#outsideInAll >= atOnce || (this.#outsideByHost.get(host) ?? 0) >= atOncePerHost) return false;
    return asker === undefined || (this.#outsideByAsker.get(asker) ?? 0) < atOncePerAsker;
  }

  #count({ host, asker }: Leaving, by: 1 | -1): void {
    this.#outsideInAll += by;
    countIn(this.#outsideByHost, host, by);
    if (asker !== undefined) countIn(this.#outsideByAsker, asker, by);
  }
}

function countIn(counts: Map<string, number>, key: string, by: 1 | -1): void {
  const count = (counts.get(key) ?? 0) + by;
  if (count === 0) counts.delete(key);
  else counts.set(key, count);
}
