/**
 * The circuit breaker of the database: it knows whether the database answers, so requests need not wait to find out. It
 * probes the database every 250 ms while requests arrive (every 2 s while none arrive, and at once at the first one),
 * on a connection of its own, and at once when a statement failed. A probe makes two tries, each with a fresh
 * connection if the first was closed. One failed probe opens the breaker: from then on no request gets a connection,
 * and waiting statements reject. Only probes, at growing intervals up to one second, find out when the database is
 * back.
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
import { outsideTimeBudget } from '../base/time_budget.ts';
import { Unavailable } from '../base/unavailable.ts';
import { DATABASE_TIME, type ClockDifference } from './clock_difference.ts';
import { createDatabase, createPool, type Database } from './connection.ts';
import { connectionsOf, type Connections } from './connections.ts';
import { POOLER_IN_TRANSACTION_MODE } from './pooler.ts';

export interface BreakerSettings {
  readonly connectionString: string;
  /** The time limit of a probe. */
  readonly patienceMilliseconds: number;
  readonly clock: Clock;
  /** Receives the database's time from each probe. */
  readonly difference: ClockDifference;
  readonly onOpen: (error: unknown) => void;
  readonly onClose: () => void;
}

const EVERY_MILLISECONDS = 250;
/** While no requests arrive. */
const EVERY_MILLISECONDS_AT_REST = 2_000;
const EVERY_MILLISECONDS_WHILE_OPEN = 50;
const BACKOFF = { initialDelay: 100, maxDelay: 1_000 };

/** The last outage, in epoch milliseconds of this node's clock; without `until` it still lasts. */
export interface Absence {
  readonly since: number;
  readonly until?: number | undefined;
}

/** The database answers, but accepts no writes. */
class ReadOnly extends Unavailable {}

export class Breaker {
  readonly #settings: BreakerSettings;
  readonly #policy: CircuitBreakerPolicy;
  readonly #pool: pg.Pool;
  readonly #connections: Connections;
  readonly #database: Database;
  readonly #stopped = new AbortController();
  readonly #opened: (() => void)[] = [];
  readonly #closed: (() => void)[] = [];
  #alsoTry: (database: Database) => Promise<boolean> = () => Promise.resolve(true);
  /** Whether the last probe did all the work of `alsoTry`. */
  #done = true;
  #look: Promise<boolean> | undefined;
  /** The pid of the server process behind the current connection. */
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
    this.#connections = connectionsOf(this.#pool);
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

  /** The time since the last successful probe. */
  get unseenMilliseconds(): number {
    return performance.now() - this.#seenAt;
  }

  /** Whether no request arrived since the previous probe. */
  get atRest(): boolean {
    return this.#resting;
  }

  /** For metrics: 0 closed, 1 open, 2 half open. */
  get state(): number {
    return this.#policy.state;
  }

  /**
   * Adds `work` to each probe, on the connection that works even while the breaker is open. A probe succeeds only if
   * `work` does. `work` resolves to whether it is done; if not, the next probe comes soon, even while no requests arrive.
   */
  alsoTry(work: (database: Database) => Promise<boolean>): void {
    this.#alsoTry = work;
  }

  /** Calls `listener` each time the breaker opens. */
  onOpen(listener: () => void): void {
    this.#opened.push(listener);
  }

  /** Calls `listener` each time the breaker closes; the database may then be another one. */
  onClose(listener: () => void): void {
    this.#closed.push(listener);
  }

  /** Notes that a request arrived that may need the database. Called for each request, so it is cheap. */
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
    this.#connections.cutOff();
    await this.#pool.end();
  }

  /** Probes the database and returns whether it answers. */
  async check(): Promise<boolean> {
    // the running probe may have begun before the failure that the caller asks about
    await this.#look;
    return this.#lookNow();
  }

  #lookNow(): Promise<boolean> {
    this.#look ??= outsideTimeBudget(() => this.#execute()).finally(() => {
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
    const tried = this.#probe();
    tried.catch(() => {});
    const inTime = await Promise.race([tried.then(() => true), late(deadline)]);
    if (inTime) return;
    this.#connections.cutOff();
    throw new Unavailable('The database does not answer in time.');
  }

  async #probe(): Promise<void> {
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
    // the mode of a pooler may change while this node runs
    const before = this.#serverProcess;
    this.#serverProcess = rows[0]?.pid;
    if (before !== undefined && before !== this.#serverProcess) throw new Unavailable(POOLER_IN_TRANSACTION_MODE);
    this.#done = await this.#alsoTry(this.#database);
  }

  async #watch(): Promise<void> {
    const { signal } = this.#stopped;
    while (!signal.aborted) {
      this.#used = false;
      await this.#lookNow();
      const wait = this.open ? EVERY_MILLISECONDS_WHILE_OPEN : EVERY_MILLISECONDS;
      await delay(wait, undefined, { signal, ref: false }).catch(() => {});
      if (!this.open && !this.#used && this.#done) await this.#rest(signal);
    }
  }

  /** Waits until a request arrives or the next probe is due. */
  async #rest(stopped: AbortSignal): Promise<void> {
    this.#resting = true;
    const used = new AbortController();
    this.#wake = () => used.abort();
    const signal = AbortSignal.any([stopped, used.signal]);
    await delay(EVERY_MILLISECONDS_AT_REST - EVERY_MILLISECONDS, undefined, { signal, ref: false }).catch(() => {});
    this.#wake = () => {};
  }
}

/** If this process was blocked, the answer may already be in the socket: two turns of the event loop let it be read. */
async function late(deadline: number): Promise<false> {
  await delay(Math.max(1, deadline - performance.now()), undefined, { ref: false });
  await turn();
  await turn();
  return false;
}
