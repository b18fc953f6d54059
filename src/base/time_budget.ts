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

export interface TimeBudget {
  /** When the request began: a time of `performance.now()`. */
  readonly began: number;
  /** The time within which the response must begin. */
  readonly milliseconds: number;
  readonly response: Response;
}

/** By then a connection must be there: the first statement may still wait for a lock. */
const CONNECTED_SHARE = 0.6;
/** By then a transaction has sent its last statement, and waits for no lock. */
const SENT_SHARE = 0.8;
const LEAST_LOCK_MILLISECONDS = 100;

interface Running extends TimeBudget {
  /** The time spent on work that is not counted. */
  uncounted: number;
}

const budgets = new AsyncLocalStorage<Running | undefined>();

/** Runs the work of a request. */
export function withTimeBudget<T>({ began, milliseconds, response }: TimeBudget, work: () => T): T {
  return budgets.run({ began, milliseconds, response, uncounted: 0 }, work);
}

export function outsideTimeBudget<T>(work: () => T): T {
  return budgets.run(undefined, work);
}

/** The rest of this share of the budget, less than 0 if it is used up; `undefined` if no budget applies. */
function leftMilliseconds(share: number): number | undefined {
  const budget = budgets.getStore();
  if (!budget || budget.response.headersSent || budget.response.destroyed) return undefined;
  return budget.began + budget.uncounted + budget.milliseconds * share - performance.now();
}

/** How long to wait for a connection; `undefined` means no limit here. Throws `Unavailable` if no time is left. */
export function connectionWaitMilliseconds(): number | undefined {
  const left = leftMilliseconds(CONNECTED_SHARE);
  if (left !== undefined && left <= 0) throw late();
  return left;
}

/** Throws `Unavailable` if it is too late to begin a wait. */
export function requireTimeToWait(): void {
  connectionWaitMilliseconds();
}

/** How long the statements of a transaction that begins now may wait for locks; `undefined` means no limit here. */
export function lockWaitMilliseconds(): number | undefined {
  const left = leftMilliseconds(SENT_SHARE);
  return left === undefined ? undefined : Math.max(LEAST_LOCK_MILLISECONDS, left);
}

/** Throws `Unavailable` if it is too late to send a further statement of a transaction. */
export function requireTimeForStatement(): void {
  const left = leftMilliseconds(SENT_SHARE);
  if (left !== undefined && left <= 0) throw late();
}

/** Settles as `work` does, or rejects with `Unavailable` when the budget ends. For work that continues by itself. */
export async function withinTimeBudget<T>(work: Promise<T>): Promise<T> {
  const left = leftMilliseconds(SENT_SHARE);
  if (left === undefined) return work;
  let timer: NodeJS.Timeout | undefined;
  const end = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(late()), Math.max(1, left));
  });
  return Promise.race([work, end]).finally(() => clearTimeout(timer));
}

/** Does work that has a limit of its own, such as the check of a password, outside the budget and not counted in it. */
export async function notCounted<T>(work: () => Promise<T>): Promise<T> {
  const budget = budgets.getStore();
  if (!budget) return work();
  const since = performance.now();
  return outsideTimeBudget(work).finally(() => (budget.uncounted += performance.now() - since));
}

function late(): Unavailable {
  return new Unavailable('The request has waited too long for the database.');
}
