/** The connections of a pool, and how they are refused and cut off while the database is away. */
import { ExponentialBackoff, handleWhen, retry } from 'cockatiel';
import type pg from 'pg';
import { NoConnection } from './connection.ts';

export interface Connections {
  /** Ends them at once: whoever waits for an answer on one of them hears that there is none. */
  cutOff(): void;
}

export function connectionsOf(pool: pg.Pool): Connections {
  const open = new Set<pg.PoolClient>();
  // at each use, not when it is made: it may be older than our interest in it
  pool.on('acquire', (client) => open.add(client));
  pool.on('remove', (client) => open.delete(client));
  return {
    cutOff() {
      // not `end`, which says goodbye first, to somebody who may not be listening
      for (const client of open) (client as unknown as pg.Client).connection.stream.destroy();
    },
  };
}

/** While others hold all connections that the server has, or it is just starting, another try may find one free. */
const NO_ROOM = /^(53300|57P03)$/;
const patiently = retry(
  handleWhen((error) => NO_ROOM.test(String((error as { code?: unknown }).code))),
  { maxAttempts: 3, backoff: new ExponentialBackoff({ initialDelay: 20, maxDelay: 150 }) },
);

/** What the breaker knows of the database (breaker.ts). */
export interface Availability {
  /** Whether the database is known to be away. */
  readonly open: boolean;
  onOpen(listener: () => void): void;
  check(): Promise<boolean>;
}

interface Waiting {
  readonly since: number;
  readonly giveUp: () => void;
}

type Callback = (error: Error | undefined, client?: pg.PoolClient, release?: (error?: Error | boolean) => void) => void;

/** For how long the first in the row may have waited when another one joins it: a request needs several in turn. */
const WAITING_MILLISECONDS = 500;

/**
 * From now on the pool gives out connections while the breaker is closed only, and none for the work of others is
 * waited for when it opens. To get a connection may be tried again, since nothing was asked yet; what is asked on it
 * may not, since nobody knows whether it was done. While all connections are in use for longer than a moment, those that
 * ask for one hear at once that there is none, so that those that have waited get theirs in time.
 */
export function guard(pool: pg.Pool, breaker: Availability): void {
  const { cutOff } = connectionsOf(pool);
  const waiting = new Set<Waiting>();
  const connect = pool.connect.bind(pool) as () => Promise<pg.PoolClient>;
  breaker.onOpen(() => {
    for (const { giveUp } of waiting) giveUp();
    cutOff();
  });
  pool.on('error', () => void breaker.check());
  pool.connect = ((callback?: Callback) => {
    const given = give();
    if (!callback) return given;
    given.then(
      (client) => callback(undefined, client, (error) => client.release(error)),
      (error: Error) => callback(error, undefined, () => {}),
    );
    return undefined;
  }) as typeof pool.connect;

  function isCrowded(): boolean {
    if (pool.idleCount > 0 || pool.totalCount < pool.options.max) return false;
    const [first] = waiting;
    return first !== undefined && performance.now() - first.since > WAITING_MILLISECONDS;
  }

  function give(): Promise<pg.PoolClient> {
    if (breaker.open) return Promise.reject(new NoConnection('The database is away.'));
    if (isCrowded()) return Promise.reject(new NoConnection('All connections to the database are in use.'));
    return new Promise((resolve, reject) => {
      const one: Waiting = {
        since: performance.now(),
        giveUp() {
          waiting.delete(one);
          reject(new NoConnection('The database went away.'));
        },
      };
      waiting.add(one);
      patiently
        .execute(() => connect())
        .then(
          // one that comes too late goes back
          (client) => (waiting.delete(one) ? resolve(client) : client.release()),
          (error: unknown) => {
            if (!waiting.delete(one)) return;
            void breaker.check();
            reject(new NoConnection('There is no connection to the database.', { cause: error }));
          },
        );
    });
  }
}
