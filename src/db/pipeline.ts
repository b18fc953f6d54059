/**
 * Statements that share a round trip. Inside a transaction, `begin` and statements whose results are not needed are
 * sent without waiting. They are sent with the next statement that is waited for, at the latest with `commit`.
 * PostgreSQL executes them in order and, if one fails, refuses the later ones, so the transaction has no effect and its
 * caller gets the first error.
 */
import { CompiledQuery, type Compilable } from 'kysely';
import { lockWaitMilliseconds, requireTimeForStatement } from '../base/time_budget.ts';
import type { Tx } from './database.ts';

/** Marks the text of a statement that is not waited for. It is removed before sending. */
const UNAWAITED = '/* unawaited */ ';

/**
 * Sends a statement of the transaction whose result is not needed. If it fails, the transaction fails with its error.
 */
export async function sendIn(tx: Tx, statement: Compilable): Promise<void> {
  const { sql, parameters } = statement.compile();
  await tx.executeQuery(CompiledQuery.raw(UNAWAITED + sql, [...parameters]));
}

/** The pool's (connection.ts); a request with little time left waits for less. */
export const LOCK_TIMEOUT_MILLISECONDS = 1_500;
export const LOCK_TIMEOUT = `select set_config('lock_timeout', $1, true)`;

type Send<Answer> = (text: string, values: unknown[]) => Promise<Answer>;

/** The statements of one connection that were sent and not yet waited for. */
export class Pipeline<Answer> {
  readonly #send: Send<Answer>;
  /** The result of an unawaited statement. */
  readonly #nothing: Answer;
  readonly #failureOf: (text: string, cause: unknown) => unknown;
  /** Undefined outside a transaction. */
  #unawaited: Promise<unknown>[] | undefined;

  /** `failureOf` creates the error of an unawaited statement that failed. */
  constructor(send: Send<Answer>, nothing: Answer, failureOf: (text: string, cause: unknown) => unknown) {
    this.#send = send;
    this.#nothing = nothing;
    this.#failureOf = failureOf;
  }

  async query(given: string, values: unknown[]): Promise<Answer> {
    const text = given.startsWith(UNAWAITED) ? given.slice(UNAWAITED.length) : given;
    if (text === 'begin') {
      this.#unawaited = [];
      this.#sendOnly(this.#unawaited, text, values);
      const lockWait = lockWaitMilliseconds();
      if (lockWait !== undefined && lockWait < LOCK_TIMEOUT_MILLISECONDS)
        this.#sendOnly(this.#unawaited, LOCK_TIMEOUT, [String(Math.floor(lockWait))]);
      return this.#nothing;
    }
    const unawaited = this.#unawaited;
    if (!unawaited) return this.#send(text, values);
    if (text !== 'rollback') requireTimeForStatement();
    if (text !== given) return this.#sendOnly(unawaited, text, values);
    if (text === 'commit' || text === 'rollback') this.#unawaited = undefined;
    // sent before the earlier statements have answered
    const answer = this.#send(text, values);
    answer.catch(() => {});
    const before = await Promise.allSettled(unawaited.splice(0));
    const failed = before.find(({ status }) => status === 'rejected');
    if (failed?.status === 'rejected' && text !== 'rollback') {
      await answer.catch(() => {});
      throw failed.reason;
    }
    return answer;
  }

  #sendOnly(unawaited: Promise<unknown>[], text: string, values: unknown[]): Answer {
    const answer = this.#send(text, values).catch((error: unknown) => {
      throw this.#failureOf(text, error);
    });
    answer.catch(() => {});
    unawaited.push(answer);
    return this.#nothing;
  }
}
