import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type pg from 'pg';
import { createPool } from '../src/db/connection.ts';
import { LoginAttempts } from '../src/limits/login_attempts.ts';
import { cloneDatabase, type TestDatabase } from './support/database.ts';

const OWNER = 'owner@example.com';
const HOME = '203.0.113.1';

describe('attempts to log in', () => {
  let database: TestDatabase;
  let pool: pg.Pool;
  let attempts: LoginAttempts;

  before(async () => {
    database = await cloneDatabase();
    pool = createPool({ connectionString: database.url, maxConnections: 5, onIdleError: () => {} });
    attempts = new LoginAttempts(pool);
  });
  after(async () => {
    await pool.end();
    await database.drop();
  });

  async function logIn(email: string, address: string): Promise<boolean> {
    const admission = await attempts.admit(email, address);
    if (admission.admitted) await admission.forgive();
    return admission.admitted;
  }

  /** Guesses at an account from many addresses; answers how many guesses were let through. */
  async function guess(email: string, addresses: number, each: number): Promise<number> {
    let admitted = 0;
    for (let index = 0; index < addresses; index++) {
      for (let n = 0; n < each; n++) admitted += (await attempts.admit(email, `198.51.100.${index}`)).admitted ? 1 : 0;
    }
    return admitted;
  }

  it('are limited for an account, however many addresses they come from', async () => {
    assert.equal(await guess('victim@example.com', 20, 4), 30);
  });

  it('do not lock the owner out at an address where the owner has logged in before', async () => {
    assert.equal(await logIn(OWNER, HOME), true);
    await guess(OWNER, 20, 4);
    assert.equal((await attempts.admit(OWNER, '203.0.113.2')).admitted, false, 'elsewhere the limit holds');
    assert.equal(await logIn(OWNER, HOME), true);
  });

  it('are limited at such an address too', async () => {
    const admitted = await Promise.all(Array.from({ length: 20 }, () => attempts.admit(OWNER, HOME)));
    assert.equal(admitted.filter((admission) => admission.admitted).length, 5);
  });

  it('are counted alike for an account in capitals or with spaces', async () => {
    for (let n = 0; n < 5; n++) await attempts.admit('someone@example.com', '192.0.2.1');
    assert.equal((await attempts.admit(' SomeOne@Example.com ', '192.0.2.1')).admitted, false);
  });

  it('leave no address and no account in the database', async () => {
    const { rows } = await pool.query<{ key: string }>('select key from failed_attempts');
    assert.ok(rows.length > 0);
    for (const { key } of rows) assert.doesNotMatch(key, /example|203\.0/);
  });
});
