import assert from 'node:assert/strict';
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import pg from 'pg';
import { CannotStart } from '../../src/base/cannot_start.ts';
import { startEmbedded, type Embedded } from '../../src/db/embedded.ts';
import { openDatabase } from '../../src/db/open.ts';
import { cloneDatabase, emptyDatabase, type TestDatabase } from '../support/node/database.ts';
import { removeFolder } from '../support/node/folder.ts';
import { freeAddresses, MAIN, NODE, Processes } from '../support/node/process.ts';

describe('a database that Gatehouse can not live on', () => {
  const processes = new Processes();
  const undo: (() => Promise<unknown>)[] = [];
  let empty: TestDatabase;
  let clone: TestDatabase;
  let role = '';
  before(async () => {
    [empty, clone] = await Promise.all([emptyDatabase(), cloneDatabase()]);
    role = new URL(clone.url).pathname.slice(1);
    await run(clone.url, `create role ${role} login`);
  });
  after(async () => {
    await processes.end();
    for (const step of undo.toReversed()) await step();
    await empty.drop();
    await clone.drop();
    await run(process.env.TEST_DATABASE_URL!, `drop role ${role}`);
  });

  const refuses = async (databaseUrl: string, sentence: string | RegExp): Promise<void> => {
    const settings = { databaseUrl, dataDir: 'unused', maxConnections: 1, onIdleError: () => {} };
    const said = await openDatabase(settings).then(
      () => 'It was taken.',
      (error: Error) => `${error instanceof CannotStart ? '' : 'a stack of '}${error.message}`,
    );
    if (typeof sentence === 'string') assert.equal(said, sentence);
    else assert.match(said, sentence);
  };

  for (const encoding of ['SQL_ASCII', 'LATIN1']) {
    it(`is refused when its encoding is ${encoding} (FIELD-F10)`, async () => {
      const name = `${role}_${encoding.toLowerCase()}`;
      await run(
        clone.url,
        `create database ${name} encoding '${encoding}' locale_provider libc locale 'C' template template0`,
      );
      undo.push(() => run(process.env.TEST_DATABASE_URL!, `drop database ${name}`));
      await refuses(
        withPath(clone.url, name),
        `The database's encoding is ${encoding}; Gatehouse needs UTF8: create database … encoding 'UTF8' template template0.`,
      );
    });
  }

  it('is refused when it is read-only (FIELD-F10)', async () => {
    const name = new URL(empty.url).pathname.slice(1);
    await run(empty.url, `alter database ${name} set default_transaction_read_only = on`);
    await refuses(
      empty.url,
      'The database is read-only: default_transaction_read_only is on for this server, this database or this user. Switch it off.',
    );
    await run(withPath(empty.url, 'postgres'), `alter database ${name} reset all`);
  });

  it('is refused when it is a standby (FIELD-F10)', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'gatehouse-standby-'));
    let standby: Embedded | undefined;
    try {
      await (await startEmbedded(folder, ['fsync=off'])).stop();
      await writeFile(join(folder, 'postgres/standby.signal'), '');
      standby = await startEmbedded(folder, ['fsync=off']);
      await refuses(standby.url, 'The database is a standby, which is read-only: name the primary in DATABASE_URL.');
    } finally {
      await standby?.stop();
      await removeFolder(folder);
    }
  });

  it('is refused when its search path leads nowhere (FIELD-F10)', async () => {
    await refuses(
      withOptions(empty.url, '-c search_path=missing'),
      'The search_path of this database or of this user names no schema that exists and that the user may use: create the schema, or change the search_path.',
    );
  });

  it('is refused when it has no connection left (FIELD-F10)', async () => {
    await run(clone.url, `alter role ${role} connection limit 0`);
    await refuses(
      withUser(clone.url, role),
      `The database has no free connection: too many connections for role "${role}". Raise its max_connections, or lower GATEHOUSE_DATABASE_MAX_CONNECTIONS on all nodes.`,
    );
    await run(clone.url, `alter role ${role} connection limit -1`);
  });

  it('is refused when its tables are those of another application, and left as it was (FIELD-F10)', async () => {
    await run(empty.url, 'create schema other; create table other.clients (id int)');
    const inOther = withOptions(empty.url, '-c search_path=other');
    await refuses(
      inOther,
      /^The database holds tables of another application: relation "clients" already exists\. Give Gatehouse its own database, or its own schema by the user's search_path\.$/,
    );
    assert.deepEqual(
      (await run(empty.url, `select from pg_class where relname = 'artifacts'`)).length,
      0,
      'half of the tables were made',
    );
    await run(
      empty.url,
      `drop table other.clients; create table if not exists other.kysely_migration (name text, timestamp text);
      truncate other.kysely_migration; insert into other.kysely_migration values ('2020_theirs', '')`,
    );
    await refuses(
      inOther,
      "The table kysely_migration belongs to another application. Give Gatehouse its own database, or its own schema by the user's search_path.",
    );
  });

  it('is refused when another session holds the table of migrations for long (FIELD-F10)', async () => {
    const holder = new pg.Client({ connectionString: clone.url });
    await holder.connect();
    await holder.query('begin; lock table kysely_migration');
    await refuses(
      clone.url,
      'The table kysely_migration has been locked by another session for too long: pg_locks shows which.',
    );
    await holder.end();
  });

  for (const workers of ['1', '2']) {
    it(`ends a node of ${workers} with code 1 and one sentence where its user may only read (FIELD-F10)`, async () => {
      await run(clone.url, `grant select on all tables in schema public to ${role}`);
      assert.match(
        await endOf({ DATABASE_URL: withUser(clone.url, role), GATEHOUSE_WORKERS: workers }),
        /^1 Gatehouse can't start\. The user of DATABASE_URL lacks a right in the database: permission denied for \w+ \w+\. Grant it, or use the owner of the tables\.\n$/,
      );
    });
  }

  it('ends the node with code 1 and one sentence where a table is locked for long (FIELD-F10)', async () => {
    const holder = new pg.Client({ connectionString: clone.url });
    await holder.connect();
    await holder.query('begin; lock table resources');
    assert.match(
      await endOf({ DATABASE_URL: clone.url }),
      /^1 Gatehouse can't start\. A statement of the start timed out in the database: .*\. Another session may hold a lock; pg_locks shows which\.\n$/,
    );
    await holder.end();
  });

  /** Its code, and all that it says on standard error. */
  async function endOf(environment: Readonly<Record<string, string>>): Promise<string> {
    const { port, managementPort } = await freeAddresses();
    const { code, stderr } = await processes
      .spawn([NODE, MAIN], {
        NODE_ENV: 'production',
        ISSUER: 'https://id.example.com',
        GATEHOUSE_MASTER_KEY: Buffer.alloc(32, 'master key').toString('base64'),
        PORT: String(port),
        GATEHOUSE_MANAGEMENT_PORT: String(managementPort),
        ...environment,
      })
      .ended(60_000);
    return `${code} ${stderr}`;
  }
});

async function run(url: string, statements: string): Promise<unknown[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    // an operator of a database that is read-only by default may still change that
    await client.query('set default_transaction_read_only = off');
    const { rows } = await client.query(statements);
    return rows;
  } finally {
    await client.end();
  }
}

function withPath(url: string, name: string): string {
  return changed(url, (target) => (target.pathname = `/${name}`));
}

function withUser(url: string, user: string): string {
  return changed(url, (target) => (target.username = user));
}

function withOptions(url: string, options: string): string {
  return changed(url, (target) => target.searchParams.set('options', options)).replaceAll('+', '%20');
}

function changed(url: string, change: (target: URL) => unknown): string {
  const target = new URL(url);
  change(target);
  return target.href;
}
