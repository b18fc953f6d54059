import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { sql } from 'kysely';
import pg from 'pg';
import { CannotStart } from '../../src/base/cannot_start.ts';
import { connectClient, createClient, createPool } from '../../src/db/connection.ts';
import { openDatabase, type OpenDatabase } from '../../src/db/open.ts';
import { registerApplication, signIn } from '../support/client/code_flow.ts';
import { emptyDatabase, type TestDatabase } from '../support/node/database.ts';
import { proofOf } from '../support/node/audit_evidence.ts';
import { startGatehouse } from '../support/node/gatehouse.ts';
import { eventually } from '../support/node/operator.ts';

/** What an operator, or another application, may have set for a database or a user; and what has to be in force here. */
const SETTINGS: readonly (readonly [name: string, elsewhere: string, here: string])[] = [
  ['client_encoding', 'LATIN1', 'UTF8'],
  ['DateStyle', 'German, DMY', 'ISO, MDY'],
  ['IntervalStyle', 'sql_standard', 'postgres'],
  ['TimeZone', 'Asia/Kathmandu', 'UTC'],
  ['bytea_output', 'escape', 'hex'],
  ['extra_float_digits', '-15', '1'],
  ['standard_conforming_strings', 'off', 'on'],
  ['array_nulls', 'off', 'on'],
  ['quote_all_identifiers', 'on', 'off'],
  ['transform_null_equals', 'on', 'off'],
  ['gin_fuzzy_search_limit', '1', '0'],
  ['default_transaction_isolation', 'serializable', 'read committed'],
  ['default_transaction_deferrable', 'on', 'off'],
  ['session_replication_role', 'replica', 'origin'],
  ['row_security', 'on', 'off'],
  ['exit_on_error', 'on', 'off'],
  ['statement_timeout', '2s', '5s'],
  ['lock_timeout', '1', '1500ms'],
  ['idle_session_timeout', '300', '0'],
  ['idle_in_transaction_session_timeout', '1', '10s'],
  ['plan_cache_mode', 'force_generic_plan', 'auto'],
  ['jit', 'on', 'off'],
  ['synchronous_commit', 'off', 'on'],
  ['search_path', 'missing, auth, public', 'auth'],
];
/** As `options` of a connection, which know no spaces without a backslash. */
const OPTIONS = SETTINGS.map(([name, value]) => `-c ${name}=${value.replaceAll(' ', '\\ ')}`).join(' ');

describe('the settings that connections rely on', () => {
  let database: TestDatabase;
  let operator: pg.Client;
  let name = '';
  before(async () => {
    database = await emptyDatabase();
    operator = new pg.Client({ connectionString: database.url });
    await operator.connect();
    name = new URL(database.url).pathname.slice(1);
    await operator.query(`create role ${name} login superuser; create role ${name}_humble login;
      create schema auth; grant all on schema auth to ${name}_humble`);
  });
  after(async () => {
    await operator.end();
    await database.drop();
    const server = new pg.Client({ connectionString: process.env.TEST_DATABASE_URL });
    await server.connect();
    await server.query(`drop role ${name}; drop role ${name}_humble`);
    await server.end();
  });

  const urlOf = (user: string, options = ''): string => {
    const url = new URL(database.url);
    url.username = user;
    if (options) url.searchParams.set('options', options);
    return url.href.replaceAll('+', '%20');
  };
  const set = async (what: string): Promise<void> => {
    for (const [setting, value] of SETTINGS) {
      const quoted = setting === 'search_path' ? value : `'${value}'`;
      await operator.query(`alter ${what} set ${setting} = ${quoted}`);
    }
  };

  const ways: readonly (readonly [way: string, prepare: () => Promise<string>, undo: () => Promise<unknown>])[] = [
    [
      'ALTER DATABASE',
      async () => (await set(`database ${name}`), urlOf(name)),
      () => operator.query(`alter database ${name} reset all`),
    ],
    [
      'ALTER ROLE',
      async () => (await set(`role ${name}`), urlOf(name)),
      () => operator.query(`alter role ${name} reset all`),
    ],
    [
      'ALTER ROLE … IN DATABASE',
      async () => (await set(`role ${name} in database ${name}`), urlOf(name)),
      () => operator.query(`alter role ${name} in database ${name} reset all`),
    ],
    ['options in the URL', async () => urlOf(name, OPTIONS), async () => {}],
    [
      'PGOPTIONS',
      async () => {
        process.env.PGOPTIONS = OPTIONS;
        return urlOf(name);
      },
      async () => void delete process.env.PGOPTIONS,
    ],
  ];
  for (const [way, prepare, undo] of ways) {
    it(`are in force on each kind of connection against what ${way} says (FIELD-F2)`, async () => {
      const url = await prepare();
      const pool = createPool({ connectionString: url, maxConnections: 1, onIdleError: () => {} });
      const client = createClient(url);
      const plain = new pg.Client({ connectionString: url });
      try {
        await connectClient(client);
        await plain.connect();
        const wanted = SETTINGS.map(([setting, , here]) => [setting, here]);
        assert.deepEqual(await settingsOf(pool), wanted);
        assert.deepEqual(await settingsOf(client), wanted);
        // the way had an effect: a connection that is told nothing has other values
        const others = await settingsOf(plain);
        assert.ok(
          others.every(([setting, value], index) => setting === 'client_encoding' || value !== wanted[index]?.[1]),
        );
      } finally {
        await undo();
        await Promise.all([pool.end(), client.end(), plain.end()]);
      }
    });
  }

  it('let a server migrate, serve and prove its trail where a database has all others (FIELD-F2)', async () => {
    await set(`database ${name}`);
    let opened: OpenDatabase | undefined;
    try {
      opened = await openDatabase({ databaseUrl: database.url, dataDir: '', maxConnections: 1, onIdleError: () => {} });
      const gatehouse = await startGatehouse({ databaseUrl: database.url });
      try {
        const application = await registerApplication(gatehouse);
        const { tokens } = await signIn(gatehouse, application, { scope: 'openid offline_access' });
        assert.ok(tokens.refresh_token);
        await gatehouse.runJobs();
        assert.ok((await proofOf(gatehouse)).entries > 0);
        const { rows } = await sql<{ schema: string }>`select relnamespace::regnamespace::text as schema
          from pg_class where relname = 'kysely_migration'`.execute(gatehouse.database);
        assert.deepEqual(rows, [{ schema: 'auth' }]);
        await eventually(() => listenerIsOlderThan(operator, '1 second'));
        assert.deepEqual(
          gatehouse.log.filter((line) => /"level":"(warn|error|fatal)"/.test(line)),
          [],
        );
      } finally {
        await gatehouse.stop();
      }
    } finally {
      await opened?.close();
      await operator.query(`alter database ${name} reset all`);
    }
  });

  it('leave a stronger synchronous_commit as the operator chose it (FIELD-F2)', async () => {
    const pool = createPool({
      connectionString: urlOf(name, '-c synchronous_commit=remote_apply'),
      maxConnections: 1,
      onIdleError: () => {},
    });
    const { rows } = await pool.query(`show synchronous_commit`);
    await pool.end();
    assert.deepEqual(rows, [{ synchronous_commit: 'remote_apply' }]);
  });

  it('end the start in one sentence where this user may not change one (FIELD-F2)', async () => {
    await operator.query(`alter role ${name}_humble set session_replication_role = replica`);
    const { host } = new pg.Client({ connectionString: database.url });
    const place = host.startsWith('/') ? host : new URL(database.url).host;
    await assert.rejects(
      openDatabase({ databaseUrl: urlOf(`${name}_humble`), dataDir: '', maxConnections: 1, onIdleError: () => {} }),
      new CannotStart(
        `The database at ${place} can't be reached: permission denied to set parameter "session_replication_role". The database or the user of DATABASE_URL sets this parameter to a value that Gatehouse can't use: reset it with ALTER ROLE … RESET or ALTER DATABASE … RESET.`,
      ),
    );
  });
});

async function settingsOf(connection: pg.Pool | pg.Client): Promise<string[][]> {
  const names = SETTINGS.map(([setting]) => setting);
  const { rows } = await connection.query<{ name: string; value: string }>(
    'select name, current_setting(name) as value from unnest($1::text[]) with ordinality as s(name, place) order by place',
    [names],
  );
  return rows.map(({ name, value }) => [name, value]);
}

/** A connection that PostgreSQL would have ended by now, had it kept the time-out of idle sessions. */
async function listenerIsOlderThan(operator: pg.Client, age: string): Promise<boolean> {
  const { rows } = await operator.query(
    `select from pg_stat_activity where datname = current_database() and application_name = 'gatehouse listener'
      and state = 'idle' and state_change < clock_timestamp() - $1::interval`,
    [age],
  );
  return rows.length > 0;
}
