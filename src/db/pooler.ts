/**
 * Tells whether a pooler between this node and PostgreSQL gives each transaction another server connection (PgBouncer's
 * transaction mode). Prepared statements, LISTEN and the settings of a connection don't survive that.
 */
import type pg from 'pg';
import { CannotStart } from '../base/cannot_start.ts';

const TRIES = 5;
const PATIENCE_MILLISECONDS = 3_000;

export const POOLER_IN_TRANSACTION_MODE =
  'A pooler between this node and PostgreSQL gives each transaction another connection. Set it to session mode (pool_mode = session in PgBouncer), or name PostgreSQL itself in DATABASE_URL.';

/**
 * Throws `CannotStart` if `client` speaks with more than one server process. That can't be so without a pooler or with
 * one in session mode, so neither is ever refused. `connect` opens a second connection, which takes up the server
 * connection that the first one has used.
 */
export async function refuseSharedConnections(client: pg.Client, connect: () => Promise<pg.Client>): Promise<void> {
  const home = await serverProcess(client);
  // what PostgreSQL itself said at the beginning; a pooler makes up a number of its own
  if ((client as unknown as { processID?: number }).processID === home) return;
  const second = await connect();
  try {
    for (let tried = 0; tried < TRIES; tried++) {
      await inTime(second.query('begin'));
      if ((await inTime(serverProcess(client))) !== home) throw new CannotStart(POOLER_IN_TRANSACTION_MODE);
      await inTime(second.query('rollback'));
    }
  } catch (error) {
    // PgBouncer's statement mode knows no transactions at all
    if (/statement pooling/.test(String(error))) throw new CannotStart(POOLER_IN_TRANSACTION_MODE, { cause: error });
    throw error;
  } finally {
    second.end().catch(() => {});
  }
}

async function serverProcess(client: pg.Client): Promise<number> {
  const { rows } = await client.query<{ pid: number }>('select pg_backend_pid() as pid');
  return rows[0]!.pid;
}

/** A pooler lets a connection wait for which it has no server connection. */
async function inTime<T>(answer: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  answer.catch(() => {});
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(
        new CannotStart('The pooler in front of PostgreSQL has too few connections: raise its default_pool_size.'),
      );
    }, PATIENCE_MILLISECONDS);
  });
  try {
    return await Promise.race([answer, late]);
  } finally {
    clearTimeout(timer);
  }
}
