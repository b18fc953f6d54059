import assert from 'node:assert/strict';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import pg from 'pg';
import { emptyDatabase, type TestDatabase } from '../support/node/database.ts';
import { removeFolder } from '../support/node/folder.ts';
import { TEST_MASTER_KEY } from '../support/node/gatehouse.ts';
import { CLI, freeAddresses, MAIN, NODE, Processes, type Environment } from '../support/node/process.ts';

describe('a start without NODE_ENV', () => {
  const processes = new Processes();
  let folder = '';
  let database: TestDatabase;

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'gatehouse-development-'));
    database = await emptyDatabase();
  });
  after(async () => {
    await processes.end();
    await database.drop();
    await removeFolder(folder);
  });

  async function refuses(environment: Environment, sentence: string): Promise<void> {
    const { port, managementPort } = await freeAddresses();
    const ending = await processes.run([NODE, MAIN], {
      NODE_ENV: '',
      GATEHOUSE_DATA_DIR: join(folder, 'data'),
      PORT: String(port),
      GATEHOUSE_MANAGEMENT_PORT: String(managementPort),
      ...environment,
    });
    assert.deepEqual(ending, {
      code: 1,
      signal: null,
      stdout: '',
      stderr: `Gatehouse can't start. ${sentence}\n`,
    });
  }

  const whatToSet =
    'to production for a server that others use, or to development to make an admin client, a demo client and a demo account in its database.';
  const reachesFurther: readonly [name: string, environment: () => Environment, reason: string][] = [
    ['ISSUER', () => ({ ISSUER: 'https://id.example.com' }), 'ISSUER is not a loopback address'],
    ['HOST', () => ({ HOST: '0.0.0.0' }), 'HOST is not a loopback address'],
    [
      'GATEHOUSE_TLS_HOST',
      () => ({
        GATEHOUSE_TLS_HOST: '::',
        GATEHOUSE_TLS_PORT: '8443',
        GATEHOUSE_TLS_CERTIFICATE_FILE: 'c.pem',
        GATEHOUSE_TLS_KEY_FILE: 'k.pem',
      }),
      'GATEHOUSE_TLS_HOST is not a loopback address',
    ],
    ['DATABASE_URL', () => ({ DATABASE_URL: database.url }), 'DATABASE_URL names a database that others may use'],
  ];
  for (const [name, environment, reason] of reachesFurther) {
    it(`is refused where ${name} reaches further than this machine, and makes nothing (FIELD-F5)`, async () => {
      for (const workers of ['1', '2']) {
        await refuses(
          { ...environment(), GATEHOUSE_WORKERS: workers },
          `NODE_ENV must be set, because ${reason}: ${whatToSet}`,
        );
      }
      assert.equal(await countOf('pg_class', "relname = 'clients'"), 0);
    });
  }

  it('is refused with NODE_ENV=test too, which does not mention a demo client (FIELD-F5)', async () => {
    await refuses(
      { NODE_ENV: 'test', DATABASE_URL: database.url },
      `NODE_ENV must be set, because DATABASE_URL names a database that others may use: ${whatToSet}`,
    );
  });

  it('makes nothing in a database of production, even where NODE_ENV=development is said (FIELD-F5)', async () => {
    const environment = { DATABASE_URL: database.url, GATEHOUSE_MASTER_KEY: TEST_MASTER_KEY };
    const production = { ...environment, NODE_ENV: 'production', ISSUER: 'https://id.example.com' };
    const { code, stderr } = await processes.run([NODE, CLI, 'create-admin'], production);
    assert.equal(code, 0, stderr);
    const { port, managementPort } = await freeAddresses();
    const ending = await processes.run([NODE, MAIN], {
      ...environment,
      NODE_ENV: 'development',
      GATEHOUSE_DATA_DIR: join(folder, 'data'),
      PORT: String(port),
      GATEHOUSE_MANAGEMENT_PORT: String(managementPort),
    });
    assert.equal(ending.code, 1);
    assert.equal(
      ending.stderr,
      "Gatehouse can't start. The database in DATABASE_URL has clients that no development server created: set NODE_ENV to production, or DATABASE_URL to a development database.\n",
    );
    assert.equal(await countOf('clients'), 1);
    assert.equal(await countOf('accounts'), 0);
  });

  async function countOf(table: string, condition = 'true'): Promise<number> {
    const client = new pg.Client({ connectionString: database.url });
    await client.connect();
    const { rows } = await client.query<{ count: string }>(`select count(*) from ${table} where ${condition}`);
    await client.end();
    return Number(rows[0]?.count);
  }
});
