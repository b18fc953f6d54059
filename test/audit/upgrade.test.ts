import assert from 'node:assert/strict';
import { globSync } from 'node:fs';
import { basename, join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { sql, type Kysely } from 'kysely';
import { createDatabase, type Database } from '../../src/db/connection.ts';
import { emptyDatabase, type TestDatabase, patientPool } from '../support/node/database.ts';

const MIGRATIONS = globSync(join(import.meta.dirname, '../../migrations/*.ts')).toSorted();
const CHAIN = MIGRATIONS.findIndex((path) => basename(path) === '0080_audit_chain.ts');

/** The insert of the version that made no links. */
const insertOfBefore = (stream: string, rows: readonly object[]) => sql`insert into audit_events
  select ${stream}::uuid, b.* from jsonb_to_recordset(${JSON.stringify(rows)}::jsonb) as b(sequence bigint,
  occurred_at timestamptz, event text, outcome text, actor_type text, actor_id text, account_id text,
  client_id text, address text, request_id text, details jsonb)`;

const row = (sequence: number, occurred_at: string) => ({
  sequence,
  occurred_at,
  event: 'token.issued',
  outcome: 'success',
  actor_type: 'system',
  details: {},
});

const STREAM = '00000000-0000-4000-8000-000000000001';

describe('an audit trail from before there were links', () => {
  let clone: TestDatabase;
  let database: Database;
  before(async () => {
    clone = await emptyDatabase();
    database = createDatabase(patientPool(clone.url, 2));
    for (const path of MIGRATIONS.slice(0, CHAIN)) await migrate(path);
    await insertOfBefore(STREAM, [row(1, '2025-03-01T00:00:00Z'), row(2, new Date().toISOString())]).execute(database);
    for (const path of MIGRATIONS.slice(CHAIN)) await migrate(path);
  });
  after(async () => {
    await database.destroy();
    await clone.drop();
  });

  const migrate = async (path: string): Promise<void> => {
    const { up } = (await import(path)) as { up(db: Kysely<unknown>): Promise<void> };
    await up(database as unknown as Kysely<unknown>);
  };
  const sequences = async (): Promise<number[]> => {
    const rows = await database.selectFrom('audit_events').select('sequence').orderBy('sequence').execute();
    return rows.map(({ sequence }) => sequence);
  };

  it('keeps what it has, and a node of that version still writes to it', async () => {
    assert.deepEqual(await sequences(), [1, 2]);
    const next = new Date(Date.now() + 40 * 86_400_000);
    await insertOfBefore(STREAM, [row(3, new Date().toISOString()), row(4, next.toISOString())]).execute(database);
    assert.deepEqual(await sequences(), [1, 2, 3, 4]);
  });

  it('stays append-only', async () => {
    for (const table of ['audit_events', 'audit_events_before'])
      for (const statement of [sql`delete from ${sql.table(table)}`, sql`truncate ${sql.table(table)}`])
        await assert.rejects(statement.execute(database), /appended to, never changed/);
  });
});
