/**
 * Limits attempts that may be guesses, for all nodes together. Only wrong attempts count. If running attempts take the
 * remaining places, the next attempt waits for them: a right attempt is never refused because others run at the same
 * time.
 */
import type { Clock } from '../base/clock.ts';
import { notCounted, outsideTimeBudget, withinTimeBudget } from '../base/time_budget.ts';
import type { Quota } from '../base/quota.ts';
import type { Digest } from '../base/secret.ts';
import type { Database } from '../db/connection.ts';
import { AttemptCounters, type Counter, type AttemptLimit, type Reservation } from './attempt_counters.ts';
import { AttemptQueue } from './attempt_queue.ts';

export interface AttemptLimiterSettings {
  readonly database: Database;
  /** A keyed digest: there are too few e-mail and IP addresses for a digest that anyone can compute. */
  readonly digest: (text: string) => Digest;
  readonly clock: Clock;
}

/** A limit, and the account, address or session that it applies to. */
export interface AppliedLimit {
  readonly limit: AttemptLimit;
  readonly of: string;
}

export type Attempted<T> =
  | { readonly admitted: true; readonly result: T }
  | {
      readonly admitted: false;
      readonly retryAfterSeconds: number;
      /** `undefined` if no limit is reached, but too many attempts wait. */
      readonly quota?: Quota;
    };

const LONGEST_WAIT_MILLISECONDS = 10_000;
/** By then the waiting attempts are done. */
const BUSY_SECONDS = 2;

export class AttemptLimiter {
  readonly #digest: AttemptLimiterSettings['digest'];
  readonly #clock: Clock;
  readonly #counters: AttemptCounters;
  readonly #queue = new AttemptQueue();

  constructor({ database, digest, clock }: AttemptLimiterSettings) {
    this.#digest = digest;
    this.#clock = clock;
    this.#counters = new AttemptCounters(database);
  }

  /**
   * Runs an attempt when its counters allow it. An attempt that throws does not count, because its caller learned
   * nothing.
   */
  async attempt<T>(
    counted: readonly AppliedLimit[],
    make: () => Promise<T>,
    isRight: (result: T) => boolean,
  ): Promise<Attempted<T>> {
    const counters = counted.map(({ limit, of }) => ({ limit, key: this.#digest(`${limit.name} ${of}`) }));
    const reservation = await this.#reserve(counters);
    if (reservation.state !== 'reserved') return this.#refuse(reservation);
    let outcome: 'right' | 'wrong' = 'right';
    try {
      const result = await make();
      if (!isRight(result)) outcome = 'wrong';
      return { admitted: true, result };
    } finally {
      // an attempt that is not settled counts as wrong, so a request that is late leaves this work behind and doesn't drop it
      const settled = outsideTimeBudget(() => this.#settle(counters, outcome));
      settled.catch(() => {});
      await withinTimeBudget(settled);
    }
  }

  async #reserve(counters: readonly Counter[]): Promise<Reservation> {
    const began = performance.now();
    let reservation = await this.#counters.reserve(counters, this.#clock());
    if (reservation.state !== 'busy') return reservation;
    const place = this.#queue.join(lineOf(reservation.key));
    if (!place) return reservation;
    try {
      while (reservation.state === 'busy') {
        const left = LONGEST_WAIT_MILLISECONDS - (performance.now() - began);
        if (left <= 0) return reservation;
        await notCounted(() => place.turn(left));
        reservation = await this.#counters.reserve(counters, this.#clock());
      }
      return reservation;
    } finally {
      place.leave();
    }
  }

  async #settle(counters: readonly Counter[], outcome: 'right' | 'wrong'): Promise<void> {
    await this.#counters.settle(counters, outcome, this.#clock());
    for (const { key } of counters) this.#queue.wake(lineOf(key));
  }

  #refuse(reservation: Exclude<Reservation, { state: 'reserved' }>): Attempted<never> {
    if (reservation.state === 'busy') return { admitted: false, retryAfterSeconds: BUSY_SECONDS };
    const { limit, until } = reservation;
    return {
      admitted: false,
      retryAfterSeconds: Math.max(1, Math.ceil((until.getTime() - this.#clock().getTime()) / 1000)),
      quota: { name: limit.name, requests: limit.wrong, windowSeconds: limit.seconds },
    };
  }
}

function lineOf(key: Digest): string {
  return key.toString('base64');
}
