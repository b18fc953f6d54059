/** Limits how many requests run at once: in total, for each host, and for each requester; others wait in a queue. */
import type { Limits } from './limits.ts';

/** The host of a request and, if a request of an unknown party caused it, that party's network as text. */
export interface RequestSource {
  readonly host: string;
  readonly asker?: string | undefined;
}

interface WaitingRequest extends RequestSource {
  admit(): void;
}

type ConcurrencyLimits = Pick<Limits, 'atOnce' | 'atOncePerHost' | 'atOncePerAsker' | 'waiting' | 'waitingPerAsker'>;

export class ConcurrencyLimit {
  readonly #limits: ConcurrencyLimits;
  readonly #runningByHost = new Map<string, number>();
  readonly #runningByAsker = new Map<string, number>();
  readonly #waiting = new Set<WaitingRequest>();
  #runningInAll = 0;

  constructor(limits: ConcurrencyLimits) {
    this.#limits = limits;
  }

  /** Whether the request can neither run now nor wait in the queue. */
  isFull(source: RequestSource): boolean {
    if (this.#hasPlace(source)) return false;
    if (this.#waiting.size >= this.#limits.waiting) return true;
    const { asker } = source;
    if (asker === undefined) return false;
    return [...this.#waiting].filter((one) => one.asker === asker).length >= this.#limits.waitingPerAsker;
  }

  /**
   * Waits for a free slot and returns the function that releases it. Rejects with the signal's reason if the signal
   * aborts first.
   */
  async acquire(source: RequestSource, signal: AbortSignal): Promise<() => void> {
    signal.throwIfAborted();
    if (!this.#hasPlace(source)) await this.#wait(source, signal);
    else this.#count(source, 1);
    return () => {
      this.#count(source, -1);
      this.#admitNext();
    };
  }

  #wait(source: RequestSource, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const giveUp = (): void => {
        this.#waiting.delete(waiting);
        reject(signal.reason as Error);
      };
      const waiting: WaitingRequest = {
        ...source,
        admit: () => {
          signal.removeEventListener('abort', giveUp);
          this.#waiting.delete(waiting);
          this.#count(source, 1);
          resolve();
        },
      };
      this.#waiting.add(waiting);
      signal.addEventListener('abort', giveUp, { once: true });
    });
  }

  /**
   * Admits the first waiting request whose host and requester have a free slot, so that a slow host does not delay the
   * others.
   */
  #admitNext(): void {
    for (const waiting of this.#waiting) {
      if (this.#hasPlace(waiting)) return waiting.admit();
    }
  }

  #hasPlace({ host, asker }: RequestSource): boolean {
    const { atOnce, atOncePerHost, atOncePerAsker } = this.#limits;
    if (this.#runningInAll >= atOnce || (this.#runningByHost.get(host) ?? 0) >= atOncePerHost) return false;
    return asker === undefined || (this.#runningByAsker.get(asker) ?? 0) < atOncePerAsker;
  }

  #count({ host, asker }: RequestSource, by: 1 | -1): void {
    this.#runningInAll += by;
    countIn(this.#runningByHost, host, by);
    if (asker !== undefined) countIn(this.#runningByAsker, asker, by);
  }
}

function countIn(counts: Map<string, number>, key: string, by: 1 | -1): void {
  const count = (counts.get(key) ?? 0) + by;
  if (count === 0) counts.delete(key);
  else counts.set(key, count);
}
