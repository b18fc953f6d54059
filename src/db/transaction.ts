/** Transactions that their opener commits, and effects that run after the commit. */
import { ExponentialBackoff, handleWhen, retry } from 'cockatiel';
import { CompiledQuery } from 'kysely';
import { gaveWay, type Database, type Tx } from './connection.ts';
import { LOCK_TIMEOUT, sendIn } from './pipeline.ts';

type Effect = () => void;

const effects = new WeakMap<Tx, Effect[]>();

/**
 * The other transaction ends within a moment; a migration waits for locks less than that (LOCK_WAIT_MILLISECONDS in
 * migrate.ts).
 */
const conflictRetry = retry(handleWhen(gaveWay), {
  maxAttempts: 3,
  backoff: new ExponentialBackoff({ initialDelay: 10, maxDelay: 100 }),
});

/**
 * Opens a transaction, runs `work` in it, commits, then runs the effects of `afterCommit`. After a deadlock or a
 * serialization failure it runs `work` again from its beginning in a new transaction, so `work` may have no effect
 * outside its transaction.
 */
export function transact<T>(database: Database, work: (tx: Tx) => Promise<T>): Promise<T> {
  return conflictRetry.execute(async () => {
    const waiting: Effect[] = [];
    const result = await database.transaction().execute((tx) => {
      effects.set(tx, waiting);
      return work(tx);
    });
    for (const effect of waiting) effect();
    return result;
  });
}

/** Limits how long the statements of this transaction wait for locks; sent with the next statement. */
export function waitForLocksAtMost(tx: Tx, milliseconds: number): Promise<void> {
  const limit = String(Math.max(1, Math.floor(milliseconds)));
  return sendIn(tx, { compile: () => CompiledQuery.raw(LOCK_TIMEOUT, [limit]) });
}

/** Runs `effect` after the commit, such as a log line; drops it if the transaction rolls back. */
export function afterCommit(tx: Tx, effect: Effect): void {
  const waiting = effects.get(tx);
  if (!waiting) throw new Error('afterCommit needs a transaction opened by transact().');
  waiting.push(effect);
}
