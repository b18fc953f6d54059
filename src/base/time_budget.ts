/**
 * The time that one request may spend waiting for the database, over all its statements together. Each wait has a limit
 * of its own (for a connection, a lock, a statement), but a request has many of them in sequence. So a request that has
 * waited for most of its budget starts nothing more that may take long, and is answered with 503 instead.
 *
 * The budget follows the request through all asynchronous calls. Work that several requests share, such as writing a
 * batch of audit entries, runs `outsideTimeBudget`: the first request's budget must not end the work of the others.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import { Unavailable } from './unavailable.ts';

/** As Node has it. A budget has no effect once the response has begun (an export may take minutes) or was aborted. */
interface Response {
  readonly headersSent: boolean;
  readonly destroyed: boolean;
}

interface TimeBudget {
  /** A time of `performance.now()`. */
  began: number;
  readonly response: Response;
}

/** A connection must be there by then: the first statement may wait 1.5 s for a lock. */
const CONNECTED_WITHIN_MILLISECONDS = 3_000;
/** No statement of a transaction is sent after this time, nor waits for a lock; the response has 5 s. */
const SENT_WITHIN_MILLISECONDS = 4_000;
const LEAST_LOCK_MILLISECONDS = 100;

const budgets = new AsyncLocalStorage<TimeBudget | undefined>();

/** Runs the work of a request that began at `began`, a time of `performance.now()`. */
export function withTimeBudget<T>(began: number, response: Response, work: () => T): T {
  return budgets.run({ began, response }, work);
}

export function outsideTimeBudget<T>(work: () => T): T {
  return budgets.run(undefined, work);
}

/** The time that the current request has spent; `undefined` if no budget applies. */
function spentMilliseconds(): number | undefined {
  const budget = budgets.getStore();
  if (!budget || budget.response.headersSent || budget.response.destroyed) return undefined;
  return performance.now() - budget.began;
}

/** How long to wait for a connection; `undefined` means no limit here. Throws `Unavailable` if no time is left. */
export function connectionWaitMilliseconds(): number | undefined {
  const spent = spentMilliseconds();
  if (spent === undefined) return undefined;
  requireTimeToWait();
  return CONNECTED_WITHIN_MILLISECONDS - spent;
}

/** Throws `Unavailable` if it is too late to begin a wait. */
export function requireTimeToWait(): void {
  if ((spentMilliseconds() ?? 0) > CONNECTED_WITHIN_MILLISECONDS) throw late();
}

/** How long the statements of a transaction that begins now may wait for locks; `undefined` means no limit here. */
export function lockWaitMilliseconds(): number | undefined {
  const spent = spentMilliseconds();
  return spent === undefined ? undefined : Math.max(LEAST_LOCK_MILLISECONDS, SENT_WITHIN_MILLISECONDS - spent);
}

/** Throws `Unavailable` if it is too late to send a further statement of a transaction. */
export function requireTimeForStatement(): void {
  if ((spentMilliseconds() ?? 0) > SENT_WITHIN_MILLISECONDS) throw late();
}

/** Settles as `work` does, or rejects with `Unavailable` when the budget ends. For work that goes on by itself. */
export async function withinTimeBudget<T>(work: Promise<T>): Promise<T> {
  const spent = spentMilliseconds();
  if (spent === undefined) return work;
  let timer: NodeJS.Timeout | undefined;
  const end = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(late()), Math.max(1, SENT_WITHIN_MILLISECONDS - spent));
  });
  return Promise.race([work, end]).finally(() => clearTimeout(timer));
}

/** Does work that has a limit of its own, such as the check of a password, outside the budget and not counted in it. */
export async function notCounted<T>(work: () => Promise<T>): Promise<T> {
  const budget = budgets.getStore();
  if (!budget) return work();
  const since = performance.now();
  return outsideTimeBudget(work).finally(() => (budget.began += performance.now() - since));
}

function late(): Unavailable {
  return new Unavailable('The request has waited too long for the database.');
}
