/** Rejects requests for a connection, and cuts off open connections, while the database is away. */
import { ExponentialBackoff, handleWhen, retry } from 'cockatiel';
import type pg from 'pg';
import { connectionWaitMilliseconds } from '../base/time_budget.ts';
import { Unavailable } from '../base/unavailable.ts';
import { NoConnection } from './connection.ts';

export interface Connections {
  /** Destroys them at once: statements that wait for a result on one of them reject. */
  cutOff(): void;
}

export function connectionsOf(pool: pg.Pool): Connections {
  const open = new Set<pg.PoolClient>();
  // on each use and not on creation, because the connection may be older than this listener
  pool.on('acquire', (client) => open.add(client));
  pool.on('remove', (client) => open.delete(client));
  return {
    cutOff() {
      // not `end`, which sends a message first, to a server that may not be there
      for (const client of open) (client as unknown as pg.Client).connection.stream.destroy();
    },
  };
}

/** The server has no free connection or is just starting: another try may succeed. */
const NO_CONNECTION_FREE = /^(53300|57P03)$/;
const connectRetry = retry(
  handleWhen((error) => NO_CONNECTION_FREE.test(String((error as { code?: unknown }).code))),
  { maxAttempts: 3, backoff: new ExponentialBackoff({ initialDelay: 20, maxDelay: 150 }) },
);

/** What the breaker knows of the database (breaker.ts). */
export interface Availability {
  /** Whether the database is known to be away. */
  readonly open: boolean;
  onOpen(listener: () => void): void;
  check(): Promise<boolean>;
}

interface WaitingCaller {
  readonly since: number;
  readonly giveUp: (error: Unavailable) => void;
}

type Callback = (error: Error | undefined, client?: pg.PoolClient, release?: (error?: Error | boolean) => void) => void;

/**
 * How long the first in the queue may have waited when another one joins it: a request needs several connections in
 * turn.
 */
const WAITING_MILLISECONDS = 500;

/**
 * Makes the pool give out connections only while the breaker is closed; when it opens, all waiting callers are
 * rejected. Getting a connection may be tried again, because no statement was sent yet. A statement may not, because it
 * may have been executed. If all connections are in use for longer than 500 ms, new callers are rejected at once, so
 * that earlier ones get a connection in time.
 */
export function guard(pool: pg.Pool, breaker: Availability): void {
  const { cutOff } = connectionsOf(pool);
  const poolLimit = pool.options.connectionTimeoutMillis || Infinity;
  const waiting = new Set<WaitingCaller>();
  const connect = pool.connect.bind(pool) as () => Promise<pg.PoolClient>;
  breaker.onOpen(() => {
    for (const { giveUp } of waiting) giveUp(new NoConnection('The connection to the database was lost.'));
    cutOff();
  });
  pool.on('error', () => void breaker.check());
  pool.connect = ((callback?: Callback) => {
    const client = take();
    if (!callback) return client;
    client.then(
      (taken) => callback(undefined, taken, (error) => taken.release(error)),
      (error: Error) => callback(error, undefined, () => {}),
    );
    return undefined;
  }) as typeof pool.connect;

  function isCrowded(): boolean {
    if (pool.idleCount > 0 || pool.totalCount < pool.options.max) return false;
    const [first] = waiting;
    return first !== undefined && performance.now() - first.since > WAITING_MILLISECONDS;
  }

  async function take(): Promise<pg.PoolClient> {
    if (breaker.open) throw new NoConnection('The database can not be reached.');
    if (isCrowded()) throw new NoConnection('All connections to the database are in use.');
    const longest = connectionWaitMilliseconds();
    const { promise, resolve, reject } = Promise.withResolvers<pg.PoolClient>();
    const caller: WaitingCaller = {
      since: performance.now(),
      giveUp(error) {
        waiting.delete(caller);
        reject(error);
      },
    };
    waiting.add(caller);
    // the pool itself gives up after its own limit, so only a request that began long ago needs a timer
    const timer =
      longest === undefined || pool.idleCount > 0 || longest >= poolLimit
        ? undefined
        : setTimeout(() => caller.giveUp(new Unavailable('No connection to the database was free in time.')), longest);
    connectRetry
      .execute(() => connect())
      .then(
        // a connection that arrives too late goes back to the pool
        (client) => (waiting.delete(caller) ? resolve(client) : client.release()),
        (error: unknown) => {
          if (!waiting.delete(caller)) return;
          void breaker.check();
          reject(new NoConnection('There is no connection to the database.', { cause: error }));
        },
      );
    return timer ? promise.finally(() => clearTimeout(timer)) : promise;
  }
}
