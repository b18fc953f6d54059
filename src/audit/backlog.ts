/**
 * Foresees that an entry would be written too late. While the database takes no entries (a locked table, a disk that is
 * stuck), new entries would wait behind older ones and be refused in the end. So they are refused at once, and single
 * entries find out when the database takes them again.
 */
import { isLate } from '../db/connection.ts';
import { notWritten } from './batch_rows.ts';

/** The oldest that is not written yet may have waited for so long: with what a lock may take, the answer has 5 s. */
const WAITING_MILLISECONDS = 1_000;

export class Backlog {
  /** Since when each batch has waited that is being written, by `performance.now()`. */
  readonly #writing = new Set<{ readonly since: number }>();
  /** The last batch was late. */
  #late = false;

  /** Throws `Unavailable` where it can be foreseen that an entry will be late. `queuedSince`: of the oldest in the queue. */
  refuseLate(queuedSince: number | undefined): void {
    const [first] = this.#writing;
    const since = first?.since ?? queuedSince;
    if (since === undefined) return;
    if (this.#late || performance.now() - since > WAITING_MILLISECONDS)
      throw notWritten(new Error('Entries of the audit trail wait to be written.'));
  }

  /** Follows `work`, which writes what has waited since then. */
  async follow<T>(since: number, work: Promise<T>): Promise<T> {
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
