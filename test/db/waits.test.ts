import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { sql } from 'kysely';
import type pg from 'pg';
import { cloneDatabase, type TestDatabase } from '../support/node/database.ts';
import { withTimeBudget } from '../../src/base/time_budget.ts';
import { Unavailable } from '../../src/base/unavailable.ts';
import { createDatabase, createPool, NoConnection, type Database } from '../../src/db/connection.ts';
import { guard } from '../../src/db/connections.ts';
import { transact } from '../../src/db/transaction.ts';

describe('the waits of a request for the database', () => {
  let clone: TestDatabase;
  let pool: pg.Pool;
  let database: Database;
  before(async () => {
    clone = await cloneDatabase();
    pool = createPool({ connectionString: clone.url, maxConnections: 1, onIdleError: () => {} });
    guard(pool, { open: false, onOpen: () => {}, check: () => Promise.resolve(true) });
    database = createDatabase(pool);
    await sql`create table notes (text text)`.execute(database);
  });
  after(async () => {
    await pool.end();
    await clone.drop();
  });

  /** Runs `work` in a request that began so many milliseconds ago. */
  function late<T>(milliseconds: number, work: () => T): T {
    const response = { headersSent: false, destroyed: false };
    return withTimeBudget({ began: performance.now() - milliseconds, milliseconds: 5_000, response }, work);
  }

  it('end in time if no connection is free, and the connection that comes later is not lost', async () => {
    const only = await pool.connect();
    const began = performance.now();
    const refused = late(2_700, () => sql`select 1`.execute(database));
    await assert.rejects(refused, (error) => error instanceof Unavailable && !(error instanceof NoConnection));
    const waited = performance.now() - began;
    assert.ok(waited < 1_500, `${waited} ms`);
    only.release();
    await sql`select 1`.execute(database);
    assert.equal(pool.waitingCount, 0);
  });

  it('leave less time for locks, the later the transaction begins', async () => {
    const limit = (milliseconds: number) =>
      late(milliseconds, () =>
        transact(database, async (tx) => {
          const { rows } = await sql<{ lock_timeout: string }>`show lock_timeout`.execute(tx);
          return rows[0]!.lock_timeout;
        }),
      );
    assert.equal(await limit(0), '1500ms');
    const milliseconds = Number((await limit(2_700)).replace(/ms$/, ''));
    assert.ok(milliseconds >= 100 && milliseconds <= 1_300, `${milliseconds} ms`);
    assert.equal(await limit(0), '1500ms');
  });

  it('end a transaction that would commit too late: nothing of it stays', async () => {
    const slow = late(2_700, () =>
      transact(database, async (tx) => {
        await sql`insert into notes values ('late')`.execute(tx);
        await sql`select pg_sleep(1.4)`.execute(tx);
      }),
    );
    await assert.rejects(slow, Unavailable);
    const { rows } = await sql`select from notes`.execute(database);
    assert.equal(rows.length, 0);
  });
});
