/** PostgreSQL as it is when it has run for a while: it writes its log over old files, and makes no new ones. */
import pg from 'pg';
import { startEmbedded, type Embedded } from '../src/db/embedded.ts';

/** Of 16 MB each: more than is written between two calls of `settle`. */
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

/** A checkpoint, as there is one every few minutes; files of the log that it makes superfluous are used again. */
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
