import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import pg from 'pg';
import { ADMIN_SCOPES } from '../../src/admin/scopes.ts';
import { ensureAdminResource } from '../../src/bootstrap/admin_access.ts';
import { createDatabase } from '../../src/db/connection.ts';
import { cloneDatabase, emptyDatabase, patientPool } from '../support/node/database.ts';
import { TEST_MASTER_KEY } from '../support/node/gatehouse.ts';
import { change } from '../support/node/operator.ts';
import { Processes } from '../support/node/process.ts';

describe('several nodes that start at once', () => {
  it('make the tables, the keys and the admin API of an empty database once, and are all ready', async (t) => {
    const processes = new Processes();
    const database = await emptyDatabase();
    t.after(async () => {
      await processes.end();
      await database.drop();
    });
    const environment = {
      NODE_ENV: 'production',
      ISSUER: 'https://id.example.com',
      DATABASE_URL: database.url,
      GATEHOUSE_MASTER_KEY: TEST_MASTER_KEY,
    };
    const servers = await Promise.all([1, 2, 3].map(() => processes.start(environment)));
    const keys = await Promise.all(servers.map(async ({ url }) => (await fetch(`${url}/jwks`)).json()));
    for (const other of keys) assert.deepEqual(other, keys[0]);
    const client = new pg.Client({ connectionString: database.url });
    await client.connect();
    const ask = async (query: string): Promise<unknown[]> => (await client.query(query)).rows;
    assert.deepEqual(await ask('select alg, status from signing_keys order by alg, status'), [
      { alg: 'ES256', status: 'current' },
      { alg: 'ES256', status: 'next' },
      { alg: 'RS256', status: 'current' },
      { alg: 'RS256', status: 'next' },
    ]);
    assert.deepEqual(await ask('select identifier from resources'), [
      { identifier: 'https://id.example.com/admin/v1' },
    ]);
    assert.deepEqual(
      await ask(
        `select purpose, count(*)::int from data_keys where purpose <> 'signing_key' group by purpose having count(*) > 1`,
      ),
      [],
    );
    await client.end();
    for (const { output } of servers) assert.equal(output().stderr, '');
  });

  it('register the admin API once, though each sees that it is missing', async (t) => {
    const clone = await cloneDatabase();
    const pool = patientPool(clone.url, 8);
    t.after(async () => {
      await pool.end();
      await clone.drop();
    });
    const gatehouse = { database: createDatabase(pool) };
    await Promise.all(Array.from({ length: 8 }, () => pool.query('select 1')));
    const adminApi = { identifier: 'https://id.example.com/admin/v1', scopes: ADMIN_SCOPES };
    await Promise.all(Array.from({ length: 8 }, () => change(gatehouse, (its) => ensureAdminResource(its, adminApi))));
    const made = await gatehouse.database.selectFrom('audit_events').select('event').execute();
    assert.deepEqual(made, [{ event: 'resource.created' }]);
  });
});
