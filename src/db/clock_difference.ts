/**
 * How far this machine's clock is from the database's. All nodes share that one, so none of them is further from another
 * than twice what is allowed: nobody gets a token from the future, and a code lives long enough on every node.
 */
import { sql } from 'kysely';
import { CannotStart } from '../base/cannot_start.ts';
import type { Clock } from '../base/clock.ts';
import type { Database } from './connection.ts';

export interface ClockDifferenceSettings {
  readonly clock: Clock;
  /** 0: it may be as far away as it likes. */
  readonly atMostSeconds: number;
  readonly onChange: (difference: ClockDifference) => void;
}

/** What a statement asks for that `note` is told of. */
export const DATABASE_TIME = sql<Date>`clock_timestamp()`;

export class ClockDifference {
  readonly #settings: ClockDifferenceSettings;
  #measured = 0;
  /** Between our clock and that of the time that passes, when it was measured: a clock that jumps since shows at once. */
  #offset: number;
  #wasTooFar = false;

  constructor(settings: ClockDifferenceSettings) {
    this.#settings = settings;
    this.#offset = this.#offsetNow();
  }

  /** Positive where this machine is ahead. Never more than is certain, however long the answer took. */
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

  /** The database looked at its clock at some time between our two looks at ours. */
  note(askedAt: Date, databaseTime: Date, answeredAt: Date): void {
    const ahead = Math.max(0, askedAt.getTime() - databaseTime.getTime());
    const behind = Math.max(0, databaseTime.getTime() - answeredAt.getTime());
    this.#measured = ahead - behind;
    this.#offset = this.#offsetNow();
    if (this.tooFar === this.#wasTooFar) return;
    this.#wasTooFar = this.tooFar;
    this.#settings.onChange(this);
  }

  /** Throws `CannotStart` where the clocks are too far apart to begin with. */
  async demandAgreement(database: Database): Promise<void> {
    const { clock, atMostSeconds } = this.#settings;
    const askedAt = clock();
    const { rows } = await sql<{ at: Date }>`select ${DATABASE_TIME} as at`.execute(database);
    this.note(askedAt, rows[0]!.at, clock());
    if (!this.tooFar) return;
    throw new CannotStart(
      `This machine's clock is ${this.inWords}, and ${atMostSeconds} s are allowed: set both by NTP.`,
    );
  }

  #offsetNow(): number {
    return this.#settings.clock().getTime() - performance.now();
  }
}
