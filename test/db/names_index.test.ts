import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { migrateToLatest } from '../../src/db/migrate.ts';
import { emptyDatabase, type TestDatabase } from '../support/node/database.ts';

describe('the index for parts of names', () => {
  let database: TestDatabase;
  let connection: pg.Client;
  beforeEach(async () => {
    database = await emptyDatabase();
    connection = new pg.Client({ connectionString: database.url });
    await connection.connect();
  });
  afterEach(async () => {
    await connection.end();
    await database.drop();
  });

  const isMade = async (): Promise<void> => {
    const { rows } = await connection.query(`select to_regclass('clients_by_text') is not null as made`);
    assert.deepEqual(rows, [{ made: true }]);
  };

  it('is made where the extension lies in a schema outside the search path, as some hosts have it', async () => {
    await connection.query('create schema "Extensions of ours"');
    await connection.query('create extension pg_trgm schema "Extensions of ours"');
    await migrateToLatest(database.url);
    await isMade();
  });

  it('is made though another connection was about to switch the extension on, and held it up', async () => {
    await connection.query('begin');
    await connection.query('create extension pg_trgm');
    const migrated = migrateToLatest(database.url);
    await delay(1_500);
    await connection.query('rollback');
    await migrated;
    await isMade();
  });
});
