/**
 * Counters of attempts that may be guesses, in Postgres for all nodes together. A counter holds how many attempts were
 * wrong in a window of time and how many are under way. An attempt begins only if all of its counters would stay within
 * their limits even if every attempt under way turned out wrong: a hundred guesses at once get no further than a
 * hundred one after the other. An attempt that is refused changes no counter.
 */
import { addSeconds } from '../base/clock.ts';
import type { Digest } from '../base/secret.ts';
import type { Database, Tx } from '../db/connection.ts';
import { transact } from '../db/transaction.ts';

export interface Limit {
  /** Unique among all limits; part of what is hashed. */
  readonly name: string;
  /** How many attempts may be wrong in one window. */
  readonly wrong: number;
  readonly seconds: number;
  /** How many attempts may be under way at once, where that is fewer. */
  readonly atOnce?: number;
}

export interface Counter {
  readonly limit: Limit;
  readonly key: Digest;
}

export type Reservation =
  | { readonly state: 'reserved' }
  /** A limit is reached by wrong attempts alone. `until` is when all such windows have ended. */
  | { readonly state: 'exhausted'; readonly limit: Limit; readonly until: Date }
  /** Attempts under way take the places that are left; `key` is a counter without a free place. */
  | { readonly state: 'busy'; readonly key: Digest };

interface Row {
  readonly key: Digest;
  readonly wrong: number;
  readonly under_way: number;
  readonly under_way_until: Date;
  readonly window_ends_at: Date;
}

/** Longer than an attempt takes. A node that ended left its attempts under way: after this they count as wrong. */
const UNDER_WAY_SECONDS = 30;

export class AttemptCounters {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /** Takes a place in every counter, or in none. `settle` gives the places back. */
  async reserve(counters: readonly Counter[], now: Date): Promise<Reservation> {
    // an attempt beyond a limit costs one read, and locks and writes nothing
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

  /** Ends an attempt that was reserved, and counts it where it was wrong. */
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

/** The rows of all counters, locked until the transaction ends, as they count at `now`. */
async function lock(tx: Tx, counters: readonly Counter[], now: Date): Promise<readonly Row[]> {
  const rows = await tx
    .insertInto('attempt_counters')
    .values(
      // in one order everywhere, so that two attempts never wait for one another
      counters
        .map(({ key }) => ({ key, wrong: 0, under_way: 0, under_way_until: now, window_ends_at: now }))
        .toSorted((a, b) => Buffer.compare(a.key, b.key)),
    )
    .onConflict((conflict) => conflict.column('key').doUpdateSet((eb) => ({ wrong: eb.ref('attempt_counters.wrong') })))
    .returningAll()
    .execute();
  return counters.map((counter) => rowAt(counter, rows, now));
}

async function write(tx: Tx, rows: readonly Row[]): Promise<void> {
  await tx
    .insertInto('attempt_counters')
    .values([...rows])
    .onConflict((conflict) =>
      conflict.column('key').doUpdateSet((eb) => ({
        wrong: eb.ref('excluded.wrong'),
        under_way: eb.ref('excluded.under_way'),
        under_way_until: eb.ref('excluded.under_way_until'),
        window_ends_at: eb.ref('excluded.window_ends_at'),
      })),
    )
    .execute();
}

/** What a counter holds at `now`: a window that has ended, or in which nothing was counted, begins anew. */
function rowAt({ key, limit }: Counter, rows: readonly Row[], now: Date): Row {
  const windowFromNow = addSeconds(now, limit.seconds);
  const row = rows.find((candidate) => candidate.key.equals(key));
  if (!row) return { key, wrong: 0, under_way: 0, under_way_until: now, window_ends_at: windowFromNow };
  const lost = row.under_way_until <= now ? row.under_way : 0;
  const wrong = row.window_ends_at <= now ? 0 : row.wrong + lost;
  const underWay = row.under_way - lost;
  const begins = row.window_ends_at <= now || wrong + underWay === 0;
  return { ...row, wrong, under_way: underWay, window_ends_at: begins ? windowFromNow : row.window_ends_at };
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
