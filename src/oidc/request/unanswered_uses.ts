/**
 * Single uses whose outcome is unknown. If the database connection breaks during a commit, the node can't know whether
 * the commit succeeded, and answers 503. The client then retries with the same code or refresh token, which must not be
 * treated as a stolen one. So the node takes the use back as soon as the database answers, before it gives out any
 * connection. For a few seconds, other nodes answer 503 to codes and tokens that were used while they could not reach
 * the database.
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
  /** The audit event to write if a take-back changed something that is recorded as done. */
  readonly event?: AuditEvent;
  readonly takeBacks: readonly TakeBack[];
}

export interface UnansweredUsesSettings {
  readonly database: Database;
  readonly trail: AuditTrail;
  /** The last period in which this node could not reach the database. */
  readonly lastAbsence: () => Absence | undefined;
  readonly clock: Clock;
  readonly log: Logger;
}

/** More than the requests that can run at once. Beyond this limit, a client has to log its person in again. */
const KEPT_AT_MOST = 10_000;
/**
 * The statement time-out: a use is committed at most this long before the node notices that the database is
 * unreachable.
 */
const NOTICED_WITHIN_MILLISECONDS = 7_000;
/** Nodes notice within a second that the database is reachable again, and take uses back at once. */
const SETTLED_WITHIN_MILLISECONDS = 3_000;
/** The check of the database waits for this work. */
const SETTLING_MILLISECONDS = 200;
const LOCK_MILLISECONDS = 100;

export class UnansweredUses {
  readonly #settings: UnansweredUsesSettings;
  readonly #uses = new Set<UnansweredUse>();

  constructor(settings: UnansweredUsesSettings) {
    this.#settings = settings;
  }

  /** Takes a use back, at once if the database is reachable. The caller answers 503 afterwards. */
  async takeBack(use: UnansweredUse): Promise<void> {
    if (use.takeBacks.length === 0 || this.#uses.size >= KEPT_AT_MOST) return;
    this.#uses.add(use);
    await this.#try(this.#settings.database, use);
  }

  /**
   * Takes back all stored uses on the circuit breaker's own connection, before the pool gives out connections again.
   * Never rejects, and stops after 200 ms; the next call continues. Resolves to whether none is left.
   */
  async settle(database: Database): Promise<boolean> {
    const until = performance.now() + SETTLING_MILLISECONDS;
    // a use that is postponed moves to the end
    const uses = [...this.#uses];
    for (const use of uses) {
      if ((await this.#try(database, use)) === 'away' || performance.now() > until) break;
    }
    return this.#uses.size === 0;
  }

  /** Returns `postponed` if the use is to be tried again later, and `away` if the database is away. */
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
      // a retry would fail in the same way
      this.#settings.log.error({ error, request_id: use.origin.requestId }, 'token.not_taken_back');
    }
    this.#uses.delete(use);
    return 'done';
  }

  /** Throws `Unavailable` if another node may still have to take back a use that was made at `usedAt`. */
  demandSettled(usedAt: Date): void {
    const absence = this.#settings.lastAbsence();
    if (!absence) return;
    const { since, until = Infinity } = absence;
    if (this.#settings.clock().getTime() > until + SETTLED_WITHIN_MILLISECONDS) return;
    if (usedAt.getTime() >= since - NOTICED_WITHIN_MILLISECONDS && usedAt.getTime() <= until)
      throw new Unavailable('A node may still have to take this use back.');
  }

  /** The time `seconds` before `now`, without counting the time in which the database was unreachable. */
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

/** True if a transaction that failed with this error may nevertheless have been committed. */
export function mayBeCommitted(error: unknown): boolean {
  if (!(error instanceof Error) || error instanceof NoConnection) return false;
  return isAway(error) || mayBeCommitted(error.cause);
}
