/** An empty database with the two roles that docs/operating.md makes: one owns the tables, the other serves. */
import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { emptyDatabase } from './database.ts';

export interface TwoRoles {
  /** As a superuser. */
  readonly adminUrl: string;
  readonly ownerUrl: string;
  readonly serverUrl: string;
  drop(): Promise<void>;
}

export async function databaseWithTwoRoles(): Promise<TwoRoles> {
  const { url: adminUrl, drop } = await emptyDatabase();
  const suffix = randomBytes(4).toString('hex');
  const [owner, server] = [`owner_${suffix}`, `server_${suffix}`];
  const name = new URL(adminUrl).pathname.slice(1);
  await execute(adminUrl, `create role ${owner} login`, `create role ${server} login`);
  await execute(adminUrl, `alter database ${name} owner to ${owner}`);
  return {
    adminUrl,
    ownerUrl: as(adminUrl, owner),
    serverUrl: as(adminUrl, server),
    async drop() {
      await drop();
      const { TEST_DATABASE_URL: url = '' } = process.env;
      await execute(url, `drop role ${owner}`, `drop role ${server}`);
    },
  };
}

function as(url: string, role: string): string {
  const other = new URL(url);
  other.username = role;
  return other.href;
}

async function execute(url: string, ...statements: string[]): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    for (const statement of statements) await client.query(statement);
  } finally {
    await client.end();
  }
}
