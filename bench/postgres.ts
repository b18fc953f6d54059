/** Prepares PostgreSQL as if it had run for a while: it reuses old WAL files and creates none. */
import pg from 'pg';
import { startEmbedded, type Embedded } from '../src/db/embedded.ts';

/** The number of WAL files of 16 MB: more than the benchmark writes between two calls of `settle`. */
const FILES = 60;

export async function startPostgres(folder: string): Promise<Embedded> {
  const postgres = await startEmbedded(folder, [`min_wal_size=${FILES * 16}MB`, `max_wal_size=${FILES * 64}MB`]);
  await withClient(postgres.url, async (client) => {
    for (let file = 0; file < FILES; file++) {
      await client.query(`select pg_logical_emit_message(true, 'bench', '')`);
      await client.query('select pg_switch_wal()');
    }
  });
  await settle(postgres.url);
  return postgres;
}

/** Makes a checkpoint, as PostgreSQL does every few minutes, so that it reuses old WAL files. */
export function settle(databaseUrl: string): Promise<void> {
  return withClient(databaseUrl, async (client) => void (await client.query('checkpoint')));
}

async function withClient(connectionString: string, work: (client: pg.Client) => Promise<void>): Promise<void> {
  const client = new pg.Client({ connectionString });
  await client.connect();
  try {
    await work(client);
  } finally {
    await client.end();
  }
}
