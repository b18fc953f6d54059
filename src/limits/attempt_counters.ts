/**
 * Counters of attempts that may be guesses, in PostgreSQL for all nodes together. A counter holds the number of wrong
 * attempts in a time window and the number of running attempts. An attempt begins only if all its counters stay within
 * their limits even if all running attempts turn out wrong: a hundred guesses at once get no further than a hundred in
 * sequence. A refused attempt changes no counter.
 */
import { addSeconds } from '../base/clock.ts';
import type { Digest } from '../base/secret.ts';
import type { Database, Tx } from '../db/connection.ts';
import { sendIn } from '../db/pipeline.ts';
import { transact } from '../db/transaction.ts';

export interface AttemptLimit {
  /** Unique among all limits; part of the digest's input. */
  readonly name: string;
  /** The maximum number of wrong attempts in a window. */
  readonly wrong: number;
  readonly seconds: number;
  /** The maximum number of running attempts, if that is fewer. */
  readonly atOnce?: number;
}

export interface Counter {
  readonly limit: AttemptLimit;
  readonly key: Digest;
}

export type Reservation =
  | { readonly state: 'reserved' }
  /** Wrong attempts alone reach a limit. `until`: the end of the last such window. */
  | { readonly state: 'exhausted'; readonly limit: AttemptLimit; readonly until: Date }
  /** Running attempts take the remaining places; `key` is a counter without a free place. */
  | { readonly state: 'busy'; readonly key: Digest };

interface Row {
  readonly key: Digest;
  readonly wrong: number;
  readonly under_way: number;
  readonly under_way_until: Date;
  readonly window_ends_at: Date;
}

/** Longer than an attempt takes. The running attempts of a node that ended count as wrong after this time. */
const UNDER_WAY_SECONDS = 30;

export class AttemptCounters {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /** Takes a place in each counter, or in none. `settle` gives the places back. */
  async reserve(counters: readonly Counter[], now: Date): Promise<Reservation> {
    // an attempt beyond a limit costs one read, and no lock or write
    const seen = await this.#database
      .selectFrom('attempt_counters')
      .selectAll()
      .where(
        'key',
        'in',
        counters.map(({ key }) => key),
      )
      .execute();
    const refused = exhausted(counters, seen, now);
    if (refused) return refused;
    return transact(this.#database, async (tx) => {
      const rows = await lock(tx, counters, now);
      const refusal = exhausted(counters, rows, now) ?? busy(counters, rows, now);
      if (refusal) return refusal;
      await write(
        tx,
        rows.map((row) => ({
          ...row,
          under_way: row.under_way + 1,
          under_way_until: addSeconds(now, UNDER_WAY_SECONDS),
        })),
      );
      return { state: 'reserved' };
    });
  }

  /** Ends a reserved attempt, and counts it if it was wrong. */
  async settle(counters: readonly Counter[], outcome: 'right' | 'wrong', now: Date): Promise<void> {
    const wrong = outcome === 'wrong' ? 1 : 0;
    await transact(this.#database, async (tx) => {
      const rows = await lock(tx, counters, now);
      await write(
        tx,
        rows.map((row) => ({ ...row, wrong: row.wrong + wrong, under_way: Math.max(0, row.under_way - 1) })),
      );
    });
  }
}

/** Locks the rows of all counters until the transaction ends, and returns their values at `now`. */
async function lock(tx: Tx, counters: readonly Counter[], now: Date): Promise<readonly Row[]> {
  const rows = await tx
    .insertInto('attempt_counters')
    .values(
      // in the same order everywhere, so that attempts don't deadlock
      counters
        .map(({ key }) => ({ key, wrong: 0, under_way: 0, under_way_until: now, window_ends_at: now }))
        .toSorted((a, b) => Buffer.compare(a.key, b.key)),
    )
    .onConflict((conflict) => conflict.column('key').doUpdateSet((eb) => ({ wrong: eb.ref('attempt_counters.wrong') })))
    .returningAll()
    .execute();
  return counters.map((counter) => rowAt(counter, rows, now));
}

/** Is sent with the commit, so that the rows are locked for one round trip less. */
function write(tx: Tx, rows: readonly Row[]): Promise<void> {
  const query = tx
    .insertInto('attempt_counters')
    .values([...rows])
    .onConflict((conflict) =>
      conflict.column('key').doUpdateSet((eb) => ({
        wrong: eb.ref('excluded.wrong'),
        under_way: eb.ref('excluded.under_way'),
        under_way_until: eb.ref('excluded.under_way_until'),
        window_ends_at: eb.ref('excluded.window_ends_at'),
      })),
    );
  return sendIn(tx, query);
}

/** The counter's values at `now`. A window that has ended, or in which nothing was counted, starts again. */
function rowAt({ key, limit }: Counter, rows: readonly Row[], now: Date): Row {
  const windowFromNow = addSeconds(now, limit.seconds);
  const row = rows.find((candidate) => candidate.key.equals(key));
  if (!row) return { key, wrong: 0, under_way: 0, under_way_until: now, window_ends_at: windowFromNow };
  const lost = row.under_way_until <= now ? row.under_way : 0;
  const wrong = row.window_ends_at <= now ? 0 : row.wrong + lost;
  const underWay = row.under_way - lost;
  const restarts = row.window_ends_at <= now || wrong + underWay === 0;
  return { ...row, wrong, under_way: underWay, window_ends_at: restarts ? windowFromNow : row.window_ends_at };
}

function exhausted(counters: readonly Counter[], rows: readonly Row[], now: Date): Reservation | undefined {
  const [longest] = counters
    .map((counter) => ({ limit: counter.limit, row: rowAt(counter, rows, now) }))
    .filter(({ limit, row }) => row.wrong >= limit.wrong)
    .toSorted((a, b) => b.row.window_ends_at.getTime() - a.row.window_ends_at.getTime());
  return longest && { state: 'exhausted', limit: longest.limit, until: longest.row.window_ends_at };
}

function busy(counters: readonly Counter[], rows: readonly Row[], now: Date): Reservation | undefined {
  const full = counters.find((counter) => {
    const { wrong, under_way } = rowAt(counter, rows, now);
    return under_way >= Math.min(counter.limit.wrong - wrong, counter.limit.atOnce ?? Infinity);
  });
  return full && { state: 'busy', key: full.key };
}
