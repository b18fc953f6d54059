/**
 * Uses whose outcome is unknown. Where the connection to the database breaks while a request is committed, the node can't
 * know whether the commit was carried out, and answers 503. The client obeys and comes again with the same code or
 * refresh token, which must not look like a token that was stolen: so the use is taken back as soon as the database
 * answers, before anybody is given a connection. Other nodes wait for a moment with what was used while they saw the
 * database away.
 */
import type { AuditEvent, Origin } from '../../audit/events.ts';
import type { AuditTrail } from '../../audit/trail.ts';
import { addSeconds, type Clock } from '../../base/clock.ts';
import { Unavailable } from '../../base/unavailable.ts';
import type { Absence } from '../../db/breaker.ts';
import { gaveWay, isAway, isLate, isUnavailable, NoConnection, type Database, type Tx } from '../../db/connection.ts';
import { transact, waitForLocksAtMost } from '../../db/transaction.ts';
import type { Logger } from '../../log.ts';

export type TakeBack = (tx: Tx) => Promise<boolean>;

interface UnansweredUse {
  readonly origin: Origin;
  /** What goes on record if there was something to take back that is on record as done. */
  readonly event?: AuditEvent;
  readonly takeBacks: readonly TakeBack[];
}

export interface UnansweredUsesSettings {
  readonly database: Database;
  readonly trail: AuditTrail;
  /** When this node saw the database away last. */
  readonly lastAbsence: () => Absence | undefined;
  readonly clock: Clock;
  readonly log: Logger;
}

/** More than can be under way at once; beyond it a client has to log its person in again. */
const KEPT_AT_MOST = 10_000;
/** A use is committed at most so long before the node notices that the database is away (its statement time-out). */
const NOTICED_WITHIN_MILLISECONDS = 7_000;
/** Nodes notice within a second that the database is back, and take back at once. */
const SETTLED_WITHIN_MILLISECONDS = 3_000;
/** A look at the database waits for it. */
const SETTLING_MILLISECONDS = 200;
const LOCK_MILLISECONDS = 100;

export class UnansweredUses {
  readonly #settings: UnansweredUsesSettings;
  readonly #uses = new Set<UnansweredUse>();

  constructor(settings: UnansweredUsesSettings) {
    this.#settings = settings;
  }

  /** Takes a use back, at once where the database answers. The caller answers 503 afterwards. */
  async takeBack(use: UnansweredUse): Promise<void> {
    if (use.takeBacks.length === 0 || this.#uses.size >= KEPT_AT_MOST) return;
    this.#uses.add(use);
    await this.#try(this.#settings.database, use);
  }

  /**
   * Takes back what waits, on a connection that may be given out before all others. Never rejects, and takes a moment at
   * most: what can't be taken back now is tried again by the next call.
   */
  async settle(database: Database): Promise<void> {
    const until = performance.now() + SETTLING_MILLISECONDS;
    // a use that is postponed moves to the end
    const uses = [...this.#uses];
    for (const use of uses) {
      if ((await this.#try(database, use)) === 'away' || performance.now() > until) return;
    }
  }

  async #try(database: Database, use: UnansweredUse): Promise<'done' | 'postponed' | 'away'> {
    try {
      await transact(database, async (tx) => {
        await waitForLocksAtMost(tx, LOCK_MILLISECONDS);
        await this.#takeBack(tx, use);
      });
    } catch (error) {
      if (isLate(error) || gaveWay(error)) {
        // another transaction holds its row; the uses behind it come first next time
        this.#uses.delete(use);
        this.#uses.add(use);
        return 'postponed';
      }
      if (isUnavailable(error)) return 'away';
      // it will not succeed later either
      this.#settings.log.error({ error, request_id: use.origin.requestId }, 'token.not_taken_back');
    }
    this.#uses.delete(use);
    return 'done';
  }

  /** Throws `Unavailable` where another node may still have to take back what was used at this time. */
  demandSettled(usedAt: Date): void {
    const absence = this.#settings.lastAbsence();
    if (!absence) return;
    const { since, until = Infinity } = absence;
    if (this.#settings.clock().getTime() > until + SETTLED_WITHIN_MILLISECONDS) return;
    if (usedAt.getTime() >= since - NOTICED_WITHIN_MILLISECONDS && usedAt.getTime() <= until)
      throw new Unavailable('It is not settled yet whether this was used.');
  }

  /** The time that long before `now`, where the time in which the database was away does not count. */
  before(now: Date, seconds: number): Date {
    const began = addSeconds(now, -seconds);
    const absence = this.#settings.lastAbsence();
    const until = Math.min(absence?.until ?? Infinity, now.getTime());
    if (!absence || until <= began.getTime()) return began;
    return new Date(began.getTime() - Math.max(0, until - absence.since));
  }

  async #takeBack(tx: Tx, { origin, event, takeBacks }: UnansweredUse): Promise<void> {
    let undone = false;
    for (const takeBack of takeBacks) undone = (await takeBack(tx)) || undone;
    if (undone && event) await this.#settings.trail.recordIn(tx, origin, event);
  }
}

/** Whether a transaction that failed with this error may have been committed all the same. */
export function mayBeCommitted(error: unknown): boolean {
  if (!(error instanceof Error) || error instanceof NoConnection) return false;
  return isAway(error) || mayBeCommitted(error.cause);
}
