/**
 * Measures the difference between this machine's clock and the database's. All nodes share the database, so two nodes
 * differ by at most twice the allowed difference: no client gets a token from the future, and a code lives long enough
 * on every node.
 */
import { sql } from 'kysely';
import { CannotStart } from '../base/cannot_start.ts';
import type { Clock } from '../base/clock.ts';
import type { Database } from './connection.ts';

export interface ClockDifferenceSettings {
  readonly clock: Clock;
  /** 0: no limit. */
  readonly atMostSeconds: number;
  readonly onChange: (difference: ClockDifference) => void;
}

/** The expression whose value is passed to `note`. */
export const DATABASE_TIME = sql<Date>`clock_timestamp()`;

export class ClockDifference {
  readonly #settings: ClockDifferenceSettings;
  #measured = 0;
  /** The wall clock minus the monotonic clock at the measurement. A later jump of the wall clock thus shows at once. */
  #offset: number;
  #wasTooFar = false;

  constructor(settings: ClockDifferenceSettings) {
    this.#settings = settings;
    this.#offset = this.#offsetNow();
  }

  /** Positive if this machine is ahead. A lower bound of the difference, because the answer takes time. */
  get seconds(): number {
    return (this.#measured + this.#offsetNow() - this.#offset) / 1000;
  }

  get tooFar(): boolean {
    const { atMostSeconds } = this.#settings;
    return atMostSeconds > 0 && Math.abs(this.seconds) > atMostSeconds;
  }

  get inWords(): string {
    return `${Math.round(Math.abs(this.seconds))} s ${this.seconds < 0 ? 'behind' : 'ahead of'} the database's`;
  }

  /** Records a measurement. The database read its clock between `askedAt` and `answeredAt`. */
  note(askedAt: Date, databaseTime: Date, answeredAt: Date): void {
    const ahead = Math.max(0, askedAt.getTime() - databaseTime.getTime());
    const behind = Math.max(0, databaseTime.getTime() - answeredAt.getTime());
    this.#measured = ahead - behind;
    this.#offset = this.#offsetNow();
    if (this.tooFar === this.#wasTooFar) return;
    this.#wasTooFar = this.tooFar;
    this.#settings.onChange(this);
  }

  /** Throws `CannotStart` if the clocks differ by more than the limit at the start. */
  async requireAgreement(database: Database): Promise<void> {
    const { clock, atMostSeconds } = this.#settings;
    const askedAt = clock();
    const { rows } = await sql<{ at: Date }>`select ${DATABASE_TIME} as at`.execute(database);
    this.note(askedAt, rows[0]!.at, clock());
    if (!this.tooFar) return;
    throw new CannotStart(
      `This machine's clock is ${this.inWords}, and ${atMostSeconds} s are allowed: synchronize both by NTP.`,
    );
  }

  #offsetNow(): number {
    return this.#settings.clock().getTime() - performance.now();
  }
}
