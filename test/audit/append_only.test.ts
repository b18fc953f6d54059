import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { sql } from 'kysely';
import pg from 'pg';
import { makePartitions } from '../../src/audit/partitions.ts';
import { keepPartitions } from '../../src/audit/upkeep.ts';
import { createDatabase, createPool } from '../../src/db/connection.ts';
import { asOwner } from '../../src/db/roles.ts';
import { Admin } from '../support/client/admin.ts';
import { registerApplication, signIn } from '../support/client/code_flow.ts';
import { proofOf } from '../support/node/audit_evidence.ts';
import { postForm, requestToken, TEST_MASTER_KEY } from '../support/node/gatehouse.ts';
import { eventually, registerClient } from '../support/node/operator.ts';
import { startPair, type Pair } from '../support/node/pair.ts';
import { CLI, NODE, Processes } from '../support/node/process.ts';
import { openTrail } from '../support/node/audit_trail.ts';
import { databaseWithTwoRoles, type TwoRoles } from '../support/node/two_roles.ts';

const DAY_MILLISECONDS = 86_400_000;

describe('a database whose tables belong to another role than the one that serves', () => {
  const processes = new Processes();
  let roles: TwoRoles;
  let environment: Readonly<Record<string, string>>;
  let pair: Pair;
  let server: pg.Client;
  before(async () => {
    roles = await databaseWithTwoRoles();
    environment = {
      NODE_ENV: 'development',
      DATABASE_URL: roles.serverUrl,
      GATEHOUSE_OWNER_DATABASE_URL: roles.ownerUrl,
      GATEHOUSE_MASTER_KEY: TEST_MASTER_KEY,
    };
    pair = await startPair(environment, [], roles.adminUrl);
    server = new pg.Client({ connectionString: roles.serverUrl });
    await server.connect();
  });
  after(async () => {
    await processes.end();
    await server.end();
    await pair.stop();
    await roles.drop();
  });

  /** The trail's tables, and its months. */
  const tables = async (): Promise<string[]> => {
    const { rows } = await server.query<{ name: string }>(
      `select relname as name from pg_class where relkind in ('r', 'p') and relname similar to 'audit_(events|links|checkpoints)%' order by 1`,
    );
    return rows.map(({ name }) => name);
  };
  const isRefused = async (statement: string): Promise<void> => {
    const error: unknown = await server.query(statement).then(
      () => assert.fail(`It was done: ${statement}`),
      (reason: unknown) => reason,
    );
    assert.equal((error as { code?: string }).code, '42501', `${statement}: ${String(error)}`);
  };
  const nothingIsChanged = async (): Promise<void> => {
    for (const table of await tables()) {
      // which PostgreSQL answers with a warning
      await server.query(`grant update, delete, truncate on ${table} to current_user`).catch(() => {});
      for (const statement of [
        `update ${table} set ${table.startsWith('audit_checkpoints') ? 'jws' : 'stream'} = null`,
        `delete from ${table}`,
        `truncate ${table}`,
        `drop table ${table}`,
        `alter table ${table} add column more text`,
        `alter table ${table} disable trigger all`,
        `alter table ${table} owner to current_user`,
        `create trigger mine before insert on ${table} for each row execute function refuse_change()`,
      ])
        await isRefused(statement);
    }
    await isRefused('update audit_links set seal = null');
    await isRefused('drop function refuse_change() cascade');
    await isRefused(
      'create or replace function refuse_change() returns trigger language plpgsql as $$ begin return new; end $$',
    );
    await isRefused('set session_replication_role = replica');
  };

  it('is served by two nodes without a difference: logins, tokens, changes that the other node learns of, exports (FIELD-E7)', async () => {
    const { a, b } = pair;
    const application = await registerApplication(a);
    const { tokens } = await signIn(a, application, { scope: 'openid offline_access' });
    const form = { grant_type: 'refresh_token', refresh_token: tokens.refresh_token! };
    assert.equal((await postForm(`${b.url}/token`, form, application)).status, 200);
    const client = await registerClient(a);
    const token = await requestToken(b.url, client);
    assert.equal((await postForm(`${a.url}/revoke`, { token }, client)).status, 200);
    const admin = await Admin.of(a);
    assert.equal((await admin.post('/clients', { client_name: 'Made by an admin' })).status, 201);
    assert.ok((await a.adminCall('POST', `/clients/${client.client_id}/revoke`, { reason: 'left' })).ok);
    const ask = { grant_type: 'client_credentials' };
    await eventually(async () => (await postForm(`${b.url}/token`, ask, client)).status === 401);
    assert.ok((await proofOf(a)).entries > 0);
    assert.doesNotMatch([...a.log, ...b.log].join('\n'), /permission denied|must be owner|"level":(50|60)/);
  });

  it('has a trail that the serving role can add to, and never change, empty, drop or alter (FIELD-E7)', async () => {
    await server.query('select from audit_events limit 1');
    assert.ok((await tables()).length >= 12);
    await nothingIsChanged();
  });

  it('is no different in a month that was made later, and in one that was detached (FIELD-E7)', async () => {
    await asOwner(roles.ownerUrl, pair.a.database, (owner) =>
      makePartitions(owner, new Date(Date.now() + 100 * DAY_MILLISECONDS)),
    );
    const { rows } = await server.query<{ name: string }>(
      `select inhrelid::regclass::text as name from pg_inherits where inhparent = 'audit_events'::regclass order by 1 desc`,
    );
    const [, last] = rows.map(({ name }) => name);
    await isRefused(`alter table audit_events detach partition ${last}`);
    await isRefused(`select from ${last}`);
    await asOwner(roles.ownerUrl, pair.a.database, (owner) =>
      sql`alter table audit_events detach partition ${sql.table(last!)}`.execute(owner),
    );
    await isRefused(`insert into ${last} select from audit_events`);
    await nothingIsChanged();
  });

  it('loses old months by its owner alone, and what was dropped is on record (FIELD-E7)', async () => {
    const pool = createPool({ connectionString: roles.serverUrl, maxConnections: 2, onIdleError: () => {} });
    const database = createDatabase(pool);
    try {
      const trail = await openTrail(database);
      const later = new Date(Date.now() + 200 * DAY_MILLISECONDS);
      const byServer = keepPartitions(database, trail, later, 30);
      await assert.rejects(byServer, { code: '42501' });
      await asOwner(roles.ownerUrl, database, (owner) => keepPartitions(owner, trail, later, 30));
      const dropped = database
        .selectFrom('audit_events')
        .select('details')
        .where('event', '=', 'audit.entries_dropped');
      assert.ok((await dropped.execute()).length > 0);
    } finally {
      await pool.end();
    }
  });

  it('is migrated and kept by the commands, and a node without the owner starts and serves (FIELD-E7)', async () => {
    for (const words of [['migrate'], ['audit', 'keep-months'], ['audit', 'keys']]) {
      const { code, stderr } = await processes.run([NODE, CLI, ...words], { ...environment, ISSUER: pair.a.issuer });
      assert.equal(code, 0, stderr);
    }
    const client = await registerClient(pair.a);
    const node = await processes.start({
      NODE_ENV: 'production',
      ISSUER: 'https://id.example.com',
      DATABASE_URL: roles.serverUrl,
      GATEHOUSE_MASTER_KEY: TEST_MASTER_KEY,
      GATEHOUSE_SHUTDOWN_DELAY_SECONDS: '0',
    });
    await requestToken(node.url, client);
  });

  it('is refused at the start where both URLs have the rights of the owner, or lead to two databases (FIELD-E7)', async () => {
    const other = await databaseWithTwoRoles();
    try {
      for (const [owner, sentence] of [
        [roles.serverUrl, /which has all rights of server_/],
        [other.ownerUrl, /use different databases or schemas/],
      ] as const) {
        const wrong = { ...environment, ISSUER: pair.a.issuer, GATEHOUSE_OWNER_DATABASE_URL: owner };
        const { code, stderr } = await processes.run([NODE, CLI, 'audit', 'keys'], wrong);
        assert.equal(code, 1);
        assert.match(stderr, sentence);
      }
    } finally {
      await other.drop();
    }
  });
});
