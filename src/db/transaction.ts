/** Transactions whose openers commit them, and what waits for that commit. */
import type { Database, Tx } from './connection.ts';

type Effect = () => void;

const effects = new WeakMap<Tx, Effect[]>();

/** Opens a transaction, runs `work` in it, commits, then runs what was left for after the commit. */
export async function transact<T>(database: Database, work: (tx: Tx) => Promise<T>): Promise<T> {
  const waiting: Effect[] = [];
  const result = await database.transaction().execute((tx) => {
    effects.set(tx, waiting);
    return work(tx);
  });
  for (const effect of waiting) effect();
  return result;
}

/** For what must be said only when it is true, such as a log line: dropped when the transaction rolls back. */
export function afterCommit(tx: Tx, effect: Effect): void {
  const waiting = effects.get(tx);
  if (!waiting) throw new Error('afterCommit needs a transaction opened by transact().');
  waiting.push(effect);
}
