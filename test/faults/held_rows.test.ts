import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import { sql } from 'kysely';
import pg from 'pg';
import { cloneDatabase, type TestDatabase } from '../support/node/database.ts';
import { openTrail } from '../support/node/audit_trail.ts';
import { SYSTEM } from '../../src/audit/events.ts';
import { systemClock } from '../../src/base/clock.ts';
import type { Digest } from '../../src/base/secret.ts';
import { createDatabase, createPool, type Database } from '../../src/db/connection.ts';
import { createLog } from '../../src/log.ts';
import { UnansweredUses } from '../../src/oidc/request/unanswered_uses.ts';
import { takeBackUse, timeOfUse } from '../../src/oidc/storage/token_rows.ts';

const KIND = 'AuthorizationCode';

/** A use that waits to be taken back, and the transaction that holds its row. */
interface Waiting {
  readonly id: Digest;
  release(): Promise<void>;
}

describe('a use that waits to be taken back', () => {
  let clone: TestDatabase;
  let pool: pg.Pool;
  let database: Database;
  let unanswered: UnansweredUses;
  const holders: pg.Client[] = [];
  before(async () => {
    clone = await cloneDatabase();
    pool = createPool({ connectionString: clone.url, maxConnections: 2, onIdleError: () => {} });
    database = createDatabase(pool);
    unanswered = new UnansweredUses({
      database,
      trail: await openTrail(database),
      lastAbsence: () => undefined,
      clock: systemClock,
      log: createLog('silent'),
    });
  });
  after(async () => {
    await Promise.all(holders.map((holder) => holder.end()));
    await pool.end();
    await clone.drop();
  });

  it('is not held up by those before it whose rows another transaction holds', async () => {
    const [first, second, last] = [await heldUse(), await heldUse(), await heldUse()];
    await last.release();
    // a look gives its 200 ms to the first two, and the next one begins behind them
    for (let look = 0; look < 2; look++) await unanswered.settle(database);
    assert.deepEqual(await Promise.all([first, second, last].map(isUsed)), [true, true, false]);
    await first.release();
    await second.release();
    await unanswered.settle(database);
    assert.deepEqual(await Promise.all([first, second].map(isUsed)), [false, false]);
  });

  async function heldUse(): Promise<Waiting> {
    const id = randomBytes(32) as Digest;
    const usedAt = timeOfUse(new Date());
    await sql`insert into artifacts (kind, artifact_id, payload, created_at, expires_at, consumed_at)
      values (${KIND}, ${id}, '{}', now(), now() + interval '1 minute', ${usedAt}::timestamptz)`.execute(database);
    const holder = new pg.Client({ connectionString: clone.url });
    holders.push(holder);
    await holder.connect();
    await holder.query('begin');
    await holder.query('select from artifacts where artifact_id = $1 for update', [id]);
    await unanswered.takeBack({ origin: SYSTEM, takeBacks: [(tx) => takeBackUse(tx, { kind: KIND, id }, usedAt)] });
    return { id, release: async () => void (await holder.query('rollback')) };
  }

  async function isUsed({ id }: Waiting): Promise<boolean> {
    const { consumed_at } = await database
      .selectFrom('artifacts')
      .select('consumed_at')
      .where('artifact_id', '=', id)
      .executeTakeFirstOrThrow();
    return consumed_at !== null;
  }
});
