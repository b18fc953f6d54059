import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { sql } from 'kysely';
import { CannotStart } from '../../src/base/cannot_start.ts';
import type { Database } from '../../src/db/connection.ts';
import { openDatabase } from '../../src/db/open.ts';
import { emptyDatabase, type TestDatabase } from '../support/node/database.ts';
import { requestToken, startGatehouse } from '../support/node/gatehouse.ts';
import { eventually } from '../support/node/operator.ts';
import { Pooler } from '../support/node/pooler.ts';

const REFUSED =
  'A pooler between this node and PostgreSQL gives each transaction another connection. Set it to session mode (pool_mode = session in PgBouncer), or connect to PostgreSQL directly in DATABASE_URL.';

describe('a pooler in front of the database', () => {
  let database: TestDatabase;
  let pooler: Pooler;
  before(async () => {
    database = await emptyDatabase();
    pooler = await Pooler.before(database.url);
  });
  after(async () => {
    pooler.close();
    await database.drop();
  });

  const open = () =>
    openDatabase({ databaseUrl: pooler.url, dataDir: 'unused', maxConnections: 2, onIdleError: () => {} });

  it('is refused in transaction mode, at the start and in one sentence (FIELD-F3)', async () => {
    pooler.mode = 'transaction';
    await assert.rejects(open(), new CannotStart(REFUSED));
  });

  it('is served through in session mode, with its settings sent after connecting (FIELD-F3)', async () => {
    pooler.mode = 'session';
    const opened = await open();
    await opened.close();
    const gatehouse = await startGatehouse({ databaseUrl: pooler.url });
    try {
      await requestToken(gatehouse.url, gatehouse.demo);
      // LISTEN works through it, too
      await eventually(() => listens(gatehouse.database));
      assert.deepEqual(
        gatehouse.log.filter((line) => /unreadable|database\.away/.test(line)),
        [],
      );
    } finally {
      await gatehouse.stop();
    }
  });

  it('counts as no database from the first new connection on after it was switched to transaction mode (FIELD-F3)', async () => {
    pooler.mode = 'session';
    const gatehouse = await startGatehouse({ databaseUrl: pooler.url });
    try {
      await requestToken(gatehouse.url, gatehouse.demo);
      pooler.mode = 'transaction';
      const said = () => gatehouse.log.some((line) => line.includes('database.away') && line.includes(REFUSED));
      await eventually(async () => {
        // more at once than the node has connections open
        await Promise.allSettled(Array.from({ length: 20 }, () => gatehouse.adminCall('GET', '/clients')));
        return said();
      }, 20_000);
    } finally {
      await gatehouse.stop();
    }
  });
});

async function listens(database: Database): Promise<boolean> {
  const { rows } = await sql`select from pg_stat_activity where datname = current_database()
    and (query like 'listen gatehouse_changes%' or query like 'notify gatehouse_echo%')`.execute(database);
  return rows.length > 0;
}
