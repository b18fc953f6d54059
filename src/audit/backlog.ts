/**
 * Rejects entries that would be written too late. While the database accepts no entries (a locked table, a stuck disk),
 * new entries would queue behind older ones and be rejected in the end. So they are rejected at once, except single
 * entries that test whether the database accepts them again.
 */
import { isLate } from '../db/connection.ts';
import { notWritten } from './batch_rows.ts';

/**
 * The longest wait of the oldest unwritten entry: more than the lock time-out, which rejects a batch sooner, and than a
 * write takes on a machine that does much else. A request that began long ago waits for less (time_budget.ts).
 */
const WAITING_MILLISECONDS = 2_000;

export class Backlog {
  /** The batches that are being written, with the start of their wait (`performance.now()`). */
  readonly #writing = new Set<{ readonly since: number }>();
  /** Whether the last batch timed out. */
  #late = false;

  /**
   * Throws `Unavailable` if a new entry would be late. `queuedSince`: when the oldest entry in the queue began to wait.
   */
  throwIfLate(queuedSince: number | undefined): void {
    const [first] = this.#writing;
    const since = first?.since ?? queuedSince;
    if (since === undefined) return;
    if (this.#late || performance.now() - since > WAITING_MILLISECONDS)
      throw notWritten(new Error('Older entries of the audit trail still wait to be written.'));
  }

  /** Tracks `work`, which writes entries that have waited since `since`. */
  async track<T>(since: number, work: Promise<T>): Promise<T> {
    const writing = { since };
    this.#writing.add(writing);
    try {
      const written = await work;
      this.#late = false;
      return written;
    } catch (error) {
      if (isLate(error)) this.#late = true;
      throw error;
    } finally {
      this.#writing.delete(writing);
    }
  }
}
