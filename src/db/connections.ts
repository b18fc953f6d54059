/** The connections of a pool, and how they are refused and cut off while the database is away. */
import { ExponentialBackoff, handleWhen, retry } from 'cockatiel';
import type pg from 'pg';
import type { Breaker } from './breaker.ts';
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

type Callback = (error: Error | undefined, client?: pg.PoolClient, release?: (error?: Error | boolean) => void) => void;

/**
 * From now on the pool gives out connections while the breaker is closed only, and none for the work of others is
 * waited for when it opens. To get a connection may be tried again, since nothing was asked yet; what is asked on it
 * may not, since nobody knows whether it was done.
 */
export function guard(pool: pg.Pool, breaker: Breaker): void {
  const { cutOff } = connectionsOf(pool);
  const waiting = new Set<() => void>();
  const connect = pool.connect.bind(pool) as () => Promise<pg.PoolClient>;
  breaker.onOpen(() => {
    for (const giveUp of waiting) giveUp();
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

  function give(): Promise<pg.PoolClient> {
    if (breaker.open) return Promise.reject(new NoConnection('The database is away.'));
    return new Promise((resolve, reject) => {
      const giveUp = (): void => {
        waiting.delete(giveUp);
        reject(new NoConnection('The database went away.'));
      };
      waiting.add(giveUp);
      patiently
        .execute(() => connect())
        .then(
          // one that comes too late goes back
          (client) => (waiting.delete(giveUp) ? resolve(client) : client.release()),
          (error: unknown) => {
            if (!waiting.delete(giveUp)) return;
            void breaker.check();
            reject(new NoConnection('There is no connection to the database.', { cause: error }));
          },
        );
    });
  }
}
