/** Transactions whose openers commit them, and what waits for that commit. */
import { ExponentialBackoff, handleWhen, retry } from 'cockatiel';
import { CompiledQuery } from 'kysely';
import { gaveWay, type Database, type Tx } from './connection.ts';
import { sendIn } from './pipeline.ts';

type Effect = () => void;

const effects = new WeakMap<Tx, Effect[]>();

/** The other one is done in a moment, or waits for less than that (a migration: LOCK_WAIT_MILLISECONDS in migrate.ts). */
const again = retry(handleWhen(gaveWay), {
  maxAttempts: 3,
  backoff: new ExponentialBackoff({ initialDelay: 10, maxDelay: 100 }),
});

/**
 * Opens a transaction, runs `work` in it, commits, then runs what was left for after the commit. Where it met another
 * one in the wrong order and gave way, `work` is run again from its beginning, in a new transaction: it may touch
 * nothing else than that.
 */
export function transact<T>(database: Database, work: (tx: Tx) => Promise<T>): Promise<T> {
  return again.execute(async () => {
    const waiting: Effect[] = [];
    const result = await database.transaction().execute((tx) => {
      effects.set(tx, waiting);
      return work(tx);
    });
    for (const effect of waiting) effect();
    return result;
  });
}

/** Shortens the time for which the statements of this transaction wait for locks; sent with the next statement. */
export function waitForLocksAtMost(tx: Tx, milliseconds: number): Promise<void> {
  const limit = String(Math.max(1, Math.floor(milliseconds)));
  return sendIn(tx, { compile: () => CompiledQuery.raw(`select set_config('lock_timeout', $1, true)`, [limit]) });
}

/** For what must be said only when it is true, such as a log line: dropped when the transaction rolls back. */
export function afterCommit(tx: Tx, effect: Effect): void {
  const waiting = effects.get(tx);
  if (!waiting) throw new Error('afterCommit needs a transaction opened by transact().');
  waiting.push(effect);
}
