import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import pg from 'pg';
import { migrateToLatest } from '../src/db/migrate.ts';
import { emptyDatabase, type TestDatabase } from './support/database.ts';

describe('the index for parts of names', () => {
  let database: TestDatabase;
  let connection: pg.Client;
  before(async () => {
    database = await emptyDatabase();
    connection = new pg.Client({ connectionString: database.url });
    await connection.connect();
  });
  after(async () => {
    await connection.end();
    await database.drop();
  });

  it('is made where the extension lies in a schema that nobody searches, as some hosts have it', async () => {
    await connection.query('create schema "Extensions of ours"');
    await connection.query('create extension pg_trgm schema "Extensions of ours"');
    await migrateToLatest(database.url);
    const { rows } = await connection.query(`select to_regclass('clients_by_text') is not null as made`);
    assert.deepEqual(rows, [{ made: true }]);
  });
});
