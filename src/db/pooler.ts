/**
 * Detects a pooler between this node and PostgreSQL that gives each transaction another server connection (PgBouncer's
 * transaction mode). Prepared statements, LISTEN and session settings fail with such a pooler.
 */
import type pg from 'pg';
import { CannotStart } from '../base/cannot_start.ts';

const TRIES = 5;
const PATIENCE_MILLISECONDS = 3_000;

export const POOLER_IN_TRANSACTION_MODE =
  'A pooler between this node and PostgreSQL gives each transaction another connection. Set it to session mode (pool_mode = session in PgBouncer), or connect to PostgreSQL directly in DATABASE_URL.';

/**
 * Throws `CannotStart` if `client` reaches more than one server process. Without a pooler, or with one in session mode,
 * that can't happen, so neither is ever refused. `connect` opens a second connection, which occupies the server
 * connection that the first one used.
 */
export async function refuseSharedConnections(client: pg.Client, connect: () => Promise<pg.Client>): Promise<void> {
  const firstProcess = await serverProcess(client);
  // PostgreSQL sends this number when the connection opens; a pooler invents one
  if ((client as unknown as { processID?: number }).processID === firstProcess) return;
  const second = await connect();
  try {
    for (let tried = 0; tried < TRIES; tried++) {
      await inTime(second.query('begin'));
      if ((await inTime(serverProcess(client))) !== firstProcess) throw new CannotStart(POOLER_IN_TRANSACTION_MODE);
      await inTime(second.query('rollback'));
    }
  } catch (error) {
    // PgBouncer's statement mode has no transactions
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

/** Throws `CannotStart` after three seconds: a pooler lets a client wait while it has no server connection. */
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
