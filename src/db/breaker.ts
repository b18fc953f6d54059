/**
 * Knows whether the database is there, before anybody has to wait to find out. It is looked at every quarter of a second
 * while requests come (every two seconds while none come, and at once at the first) on a connection of its own, and at once
 * when something failed. One look that finds nothing (a connection may have been
 * closed for its own reasons, so there are two tries, each with a fresh one) opens the breaker: from then on nobody is
 * given a connection, whoever waits for an answer is told that there is none, and looks alone, ever further apart up to
 * a second, find out when it is back.
 */
import { setImmediate as turn, setTimeout as delay } from 'node:timers/promises';
import {
  circuitBreaker,
  CircuitState,
  ConsecutiveBreaker,
  ExponentialBackoff,
  handleAll,
  type CircuitBreakerPolicy,
} from 'cockatiel';
import { sql } from 'kysely';
import type pg from 'pg';
import type { Clock } from '../base/clock.ts';
import { Unavailable } from '../base/unavailable.ts';
import { DATABASE_TIME, type ClockDifference } from './clock_difference.ts';
import { createDatabase, createPool, type Database } from './connection.ts';
import { connectionsOf, type Connections } from './connections.ts';
import { POOLER_IN_TRANSACTION_MODE } from './pooler.ts';

export interface BreakerSettings {
  readonly connectionString: string;
  /** How long a look may take. */
  readonly patienceMilliseconds: number;
  readonly clock: Clock;
  /** Hears at each look what time it is there. */
  readonly difference: ClockDifference;
  readonly onOpen: (error: unknown) => void;
  readonly onClose: () => void;
}

const EVERY_MILLISECONDS = 250;
/** While no request comes. */
const EVERY_MILLISECONDS_AT_REST = 2_000;
const EVERY_MILLISECONDS_WHILE_OPEN = 50;
const BACKOFF = { initialDelay: 100, maxDelay: 1_000 };

/** When the database was away, in epoch milliseconds as this node saw it; without `until` it is away still. */
export interface Absence {
  readonly since: number;
  readonly until?: number | undefined;
}

/** It answers, but takes nothing. */
class ReadOnly extends Unavailable {}

export class Breaker {
  readonly #settings: BreakerSettings;
  readonly #policy: CircuitBreakerPolicy;
  readonly #pool: pg.Pool;
  readonly #own: Connections;
  readonly #database: Database;
  readonly #stopped = new AbortController();
  readonly #opened: (() => void)[] = [];
  readonly #closed: (() => void)[] = [];
  #alsoTry: (database: Database) => Promise<void> = () => Promise.resolve();
  #look: Promise<boolean> | undefined;
  /** The server process at the other end of the present connection. */
  #serverProcess: number | undefined;
  #seenAt = -Infinity;
  #loop: Promise<void> | undefined;
  #lastAbsence: Absence | undefined;
  #used = false;
  #resting = false;
  #wake: () => void = () => {};

  constructor(settings: BreakerSettings) {
    this.#settings = settings;
    const { connectionString, patienceMilliseconds } = settings;
    this.#pool = createPool({
      connectionString,
      maxConnections: 1,
      connectionTimeoutMilliseconds: patienceMilliseconds,
      onIdleError: () => void this.check(),
    });
    this.#own = connectionsOf(this.#pool);
    this.#pool.on('connect', () => (this.#serverProcess = undefined));
    this.#database = createDatabase(this.#pool);
    this.#policy = circuitBreaker(handleAll, {
      halfOpenAfter: new ExponentialBackoff(BACKOFF),
      breaker: new ConsecutiveBreaker(1),
    });
  }

  /** Whether the database is known to be away. */
  get open(): boolean {
    return this.#policy.state !== CircuitState.Closed;
  }

  get lastAbsence(): Absence | undefined {
    return this.#lastAbsence;
  }

  /** How long ago it was last seen to be there. */
  get unseenMilliseconds(): number {
    return performance.now() - this.#seenAt;
  }

  /** Whether no request came since the last look but one. */
  get atRest(): boolean {
    return this.#resting;
  }

  /** For metrics: 0 closed, 1 open, 2 half open. */
  get state(): number {
    return this.#policy.state;
  }

  /** A part of every look, on the connection that is always let through: the database is back when this is done, too. */
  alsoTry(work: (database: Database) => Promise<void>): void {
    this.#alsoTry = work;
  }

  /** Called each time that the database turns out to be away. */
  onOpen(listener: () => void): void {
    this.#opened.push(listener);
  }

  /** Called each time that the database is back: it may be another one. */
  onClose(listener: () => void): void {
    this.#closed.push(listener);
  }

  /** A request came, which may need the database: costs nothing, and is called for each. */
  noteUse(): void {
    if (this.#used) return;
    this.#used = true;
    this.#resting = false;
    this.#wake();
  }

  start(): void {
    this.#loop = this.#watch();
  }

  async stop(): Promise<void> {
    this.#stopped.abort();
    await this.#loop;
    await this.#look;
    this.#own.cutOff();
    await this.#pool.end();
  }

  /** Looks anew, and answers whether the database is there. */
  async check(): Promise<boolean> {
    // one that is under way may have begun before what its caller asks about
    await this.#look;
    return this.#lookNow();
  }

  #lookNow(): Promise<boolean> {
    this.#look ??= this.#execute().finally(() => {
      this.#look = undefined;
    });
    return this.#look;
  }

  async #execute(): Promise<boolean> {
    const wasOpen = this.open;
    try {
      await this.#policy.execute(() => this.#tryTwice());
      this.#seenAt = performance.now();
      if (wasOpen) {
        const until = this.#settings.clock().getTime();
        this.#lastAbsence = { since: this.#lastAbsence?.since ?? until, until };
        this.#settings.onClose();
        for (const listener of this.#closed) listener();
      }
      return true;
    } catch (error) {
      if (!wasOpen) {
        this.#lastAbsence = { since: this.#settings.clock().getTime() };
        this.#settings.onOpen(error);
        for (const listener of this.#opened) listener();
      }
      return false;
    }
  }

  async #tryTwice(): Promise<void> {
    const deadline = performance.now() + this.#settings.patienceMilliseconds;
    await this.#try(deadline).catch(() => this.#try(deadline));
  }

  async #try(deadline: number): Promise<void> {
    const tried = this.#answers();
    tried.catch(() => {});
    const inTime = await Promise.race([tried.then(() => true), late(deadline)]);
    if (inTime) return;
    this.#own.cutOff();
    throw new Unavailable('The database does not answer in time.');
  }

  async #answers(): Promise<void> {
    const { clock, difference } = this.#settings;
    const askedAt = clock();
    const { rows } = await sql<{
      read_only: string;
      at: Date;
      pid: number;
    }>`select current_setting('transaction_read_only') as read_only, ${DATABASE_TIME} as at, pg_backend_pid() as pid`.execute(
      this.#database,
    );
    if (rows[0]) difference.note(askedAt, rows[0].at, clock());
    if (rows[0]?.read_only === 'on') throw new ReadOnly('The database is read-only.');
    // a pooler whose mode was changed while this node runs
    const before = this.#serverProcess;
    this.#serverProcess = rows[0]?.pid;
    if (before !== undefined && before !== this.#serverProcess) throw new Unavailable(POOLER_IN_TRANSACTION_MODE);
    await this.#alsoTry(this.#database);
  }

  async #watch(): Promise<void> {
    const { signal } = this.#stopped;
    while (!signal.aborted) {
      this.#used = false;
      await this.#lookNow();
      const wait = this.open ? EVERY_MILLISECONDS_WHILE_OPEN : EVERY_MILLISECONDS;
      await delay(wait, undefined, { signal, ref: false }).catch(() => {});
      if (!this.open && !this.#used) await this.#rest(signal);
    }
  }

  /** Until a request comes, or it is time to look again all the same. */
  async #rest(stopped: AbortSignal): Promise<void> {
    this.#resting = true;
    const used = new AbortController();
    this.#wake = () => used.abort();
    const signal = AbortSignal.any([stopped, used.signal]);
    await delay(EVERY_MILLISECONDS_AT_REST - EVERY_MILLISECONDS, undefined, { signal, ref: false }).catch(() => {});
    this.#wake = () => {};
  }
}

/** Where this process itself was late, the answer may lie in the socket: it gets a turn to be read. */
async function late(deadline: number): Promise<false> {
  await delay(Math.max(1, deadline - performance.now()), undefined, { ref: false });
  await turn();
  await turn();
  return false;
}
