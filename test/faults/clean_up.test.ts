import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { sql } from 'kysely';
import pg from 'pg';
import { dropPartitions, makePartitions } from '../../src/audit/partitions.ts';
import type { Database } from '../../src/db/connection.ts';
import { removeExpiredRows } from '../../src/maintenance/expired_rows.ts';
import { moveClock, resetClock } from '../support/node/clock.ts';
import { requestToken, startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { openTrail } from '../support/node/audit_trail.ts';

const DAY_SECONDS = 86_400;
/** `npm run test:faults` makes a large backlog; `npm test` a small one. */
const BACKLOG = process.env.FAULT_SECONDS ? 200_000 : 20_000;

describe('clean-up blocks no request:', () => {
  let gatehouse: Gatehouse;
  before(async () => {
    gatehouse = await startGatehouse();
  });
  after(() => gatehouse.stop());
  afterEach(resetClock);

  /** How long each of the tokens took that were asked for until `work` was done, in milliseconds, the longest last. */
  const meanwhile = async (work: Promise<unknown>): Promise<number[]> => {
    const times: number[] = [];
    const over = new AbortController();
    const end = work.finally(() => over.abort());
    const ask = async (): Promise<void> => {
      do {
        const began = performance.now();
        await requestToken(gatehouse.url, gatehouse.demo);
        times.push(performance.now() - began);
      } while (!over.signal.aborted);
    };
    await Promise.all([end, ask(), ask(), ask()]);
    return times.sort((a, b) => a - b);
  };
  const shown = (times: readonly number[]): string =>
    `p50 ${times[Math.floor(times.length / 2)]!.toFixed(0)} ms, p99 ${times[Math.floor(times.length * 0.99)]!.toFixed(0)} ms of ${times.length}`;

  /** Who waited for a lock of another, as often as one can look, until `work` was done. */
  const waiters = async (work: Promise<unknown>): Promise<string[]> => {
    const seen: string[] = [];
    const over = new AbortController();
    const end = work.finally(() => over.abort());
    while (!over.signal.aborted) {
      // the connection that makes a table's next page locks its extension
      const { rows } = await sql<{ query: string }>`select query from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock' and wait_event <> 'extend'`.execute(
        gatehouse.database,
      );
      seen.push(...rows.map(({ query }) => query));
      await delay(5);
    }
    await end;
    return seen;
  };

  it(`${BACKLOG.toLocaleString('en')} rows go, in batches that no request waits for`, async (test) => {
    const { database } = gatehouse;
    const atRest = await meanwhile(delay(1_000));
    await backlog(database, BACKLOG);
    const cleaned = removeExpiredRows(database, new Date(), { milliseconds: 300_000 });
    const [during, waited] = await Promise.all([meanwhile(cleaned), waiters(cleaned)]);
    test.diagnostic(`at rest ${shown(atRest)}; meanwhile ${shown(during)}`);
    assert.deepEqual(await cleaned, { removed: BACKLOG, done: true });
    assert.deepEqual(waited, []);
    // who had to wait for locks would wait until statements are cut off
    assert.ok(during[Math.floor(during.length * 0.9)]! < 2_000 && during.at(-1)! < 4_500, shown(during));
  });

  it('what a request holds is passed over, and goes the next time', async () => {
    const { database } = gatehouse;
    await backlog(database, 100);
    await database.transaction().execute(async (tx) => {
      await sql`select from used_once where digest in (select digest from used_once where expires_at < ${new Date()} limit 1) for update`.execute(
        tx,
      );
      assert.deepEqual(await removeExpiredRows(database, new Date()), { removed: 99, done: true });
    });
    assert.deepEqual(await removeExpiredRows(database, new Date()), { removed: 1, done: true });
  });

  it('it ends when its time is over, or its node stops, with every table looked at in turn', async () => {
    const { database } = gatehouse;
    await backlog(database, 2_000);
    const { removed, done } = await removeExpiredRows(database, new Date(), { milliseconds: 1 });
    assert.ok(removed < 2_000 && !done, `${removed}`);
    const stopped = await removeExpiredRows(database, new Date(), { signal: AbortSignal.abort() });
    assert.deepEqual(stopped, { removed: 0, done: false });
    const rest = await removeExpiredRows(database, new Date());
    assert.deepEqual([removed + rest.removed, rest.done], [2_000, true]);
  });

  it('a month of the trail goes as soon as an export that is reading it is over, and no token waits for that', async (test) => {
    const { database } = gatehouse;
    await requestToken(gatehouse.url, gatehouse.demo);
    moveClock(100 * DAY_SECONDS);
    await makePartitions(database, new Date());
    const trail = await openTrail(database);
    const retainedFrom = new Date(Date.UTC(new Date().getUTCFullYear(), new Date().getUTCMonth()));
    const reader = new pg.Client({ connectionString: gatehouse.databaseUrl });
    await reader.connect();
    try {
      await reader.query('begin; select count(*) from audit_events');
      const dropped = dropPartitions(database, trail, retainedFrom);
      const during = await meanwhile(delay(1_500));
      test.diagnostic(shown(during));
      assert.ok(during[Math.floor(during.length * 0.9)]! < 1_000 && during.at(-1)! < 4_500, shown(during));
      await reader.query('commit');
      await dropped;
    } finally {
      await reader.end();
    }
    const { rows } = await sql<{ months: number }>`select count(*)::int as months from pg_inherits
      where inhparent = 'audit_events'::regclass`.execute(database);
    // this one, two ahead, and the default
    assert.equal(rows[0]?.months, 4);
  });
});

/** Rows of two kinds that have expired, among as many that have not. */
async function backlog(database: Database, count: number): Promise<void> {
  const [expired, alive] = [new Date(Date.now() - 3_600_000), new Date(Date.now() + 3_600_000)];
  for (const expires_at of [expired, alive]) {
    await sql`insert into used_once (purpose, digest, expires_at)
      select 'dpop_proof', sha256(gen_random_uuid()::text::bytea), ${expires_at}
      from generate_series(1, ${count / 2}::int)`.execute(database);
    await sql`insert into artifacts (kind, artifact_id, payload, created_at, expires_at)
      select 'Interaction', sha256(gen_random_uuid()::text::bytea), jsonb_build_object('sealed', repeat('x', 700)),
        ${expires_at}, ${expires_at} from generate_series(1, ${count / 2}::int)`.execute(database);
  }
}
