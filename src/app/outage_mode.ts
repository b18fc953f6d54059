/**
 * What this node may still do while the database is away: it serves known clients from memory for a set time, for as
 * long as their audit entries have room. How old its knowledge is, the age of the change log says: who was revoked
 * through a node that still reached the database is not known here.
 */
import type { Outage } from '../audit/trail.ts';
import type { OutageBuffer } from '../audit/outage_buffer.ts';
import { Unavailable } from '../base/unavailable.ts';
import type { InvalidationFollower } from '../invalidation/follower.ts';
import type { Breaker } from '../db/breaker.ts';

export interface OutageModeSettings {
  readonly breaker: Breaker;
  readonly changes: InvalidationFollower;
  readonly held: OutageBuffer;
  /** 0: nothing is served from memory. */
  readonly allowedSeconds: number;
}

export class OutageMode implements Outage {
  readonly #settings: OutageModeSettings;

  constructor(settings: OutageModeSettings) {
    this.#settings = settings;
  }

  get away(): boolean {
    return this.#settings.breaker.open;
  }

  get held(): OutageBuffer {
    return this.#settings.held;
  }

  /** What is left of the time that is allowed. */
  get secondsLeft(): number {
    const { allowedSeconds, changes, held } = this.#settings;
    // where it comes and goes and never takes what is held, that is an outage too
    const age = Math.max(changes.ageMilliseconds(), held.ageMilliseconds());
    return Math.max(0, allowedSeconds - age / 1000);
  }

  get permits(): boolean {
    return this.secondsLeft > 0 && !this.held.full;
  }

  check(): Promise<boolean> {
    return this.#settings.breaker.check();
  }

  /** Throws where this node can't vouch for what it holds. */
  vouch = (): void => {
    if (this.away && this.secondsLeft === 0) throw new Unavailable('What is known here is too old.');
  };
}
