/** Databases for tests: one migrated template for the whole run, and a clone of it for each test file. */
import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { createPool } from '../../../src/db/connection.ts';

export interface TestDatabase {
  readonly url: string;
  drop(): Promise<void>;
}

/** An empty database on the server of `serverUrl`, named so that runs which share the server don't meet. */
export async function createTemplate(serverUrl: string): Promise<{ name: string; url: string }> {
  const name = `gatehouse_template_${randomBytes(6).toString('hex')}`;
  await execute(serverUrl, `create database ${name}`);
  return { name, url: databaseUrl(serverUrl, name) };
}

/** The template and every clone that a crashed test left behind. */
export async function dropTemplateAndClones(serverUrl: string, template: string): Promise<void> {
  const found = await execute(serverUrl, 'select datname from pg_database where starts_with(datname, $1)', [template]);
  for (const { datname } of found) await execute(serverUrl, `drop database if exists ${datname} with (force)`);
}

/** A migrated database of the caller's own, in some 40 ms. Global setup has told the environment where from. */
export function cloneDatabase(): Promise<TestDatabase> {
  return create((template) => template);
}

/** A pool that waits for as long as a machine that does much else needs. */
export function patientPool(connectionString: string, maxConnections: number): pg.Pool {
  return createPool({
    connectionString,
    maxConnections,
    connectionTimeoutMilliseconds: 20_000,
    statementTimeoutMilliseconds: 20_000,
    lockTimeoutMilliseconds: 10_000,
    onIdleError: () => {},
  });
}

/** One without a table, as an operator has it before the first start. */
export function emptyDatabase(): Promise<TestDatabase> {
  return create(() => 'template0');
}

async function create(source: (template: string) => string): Promise<TestDatabase> {
  const { TEST_DATABASE_URL: serverUrl, TEST_DATABASE_TEMPLATE: template } = process.env;
  if (!serverUrl || !template) {
    throw new Error('Tests that use the database need --test-global-setup=test/support/global.ts.');
  }
  const name = `${template}_${randomBytes(6).toString('hex')}`;
  await execute(serverUrl, `create database ${name} template ${source(template)}`);
  return {
    url: databaseUrl(serverUrl, name),
    drop: async () => {
      await execute(serverUrl, `drop database if exists ${name} with (force)`);
    },
  };
}

/** Another database of the same server; the server may be named by host and port or by a socket (`?host=`). */
function databaseUrl(serverUrl: string, name: string): string {
  const url = new URL(serverUrl);
  url.pathname = `/${name}`;
  return url.href;
}

async function execute(url: string, statement: string, values: string[] = []): Promise<{ datname?: string }[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    const { rows } = await client.query<{ datname?: string }>(statement, values);
    return rows;
  } finally {
    await client.end();
  }
}
