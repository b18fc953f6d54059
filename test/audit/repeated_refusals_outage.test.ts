import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Way } from '../support/node/unreachable_database.ts';
import { cloneDatabase, type TestDatabase } from '../support/node/database.ts';
import { proofOf } from '../support/node/audit_evidence.ts';
import { startGatehouse, type OwnGatehouse } from '../support/node/gatehouse.ts';
import { eventually } from '../support/node/operator.ts';
import { addSeconds } from '../../src/base/clock.ts';
import { createDatabase, createPool } from '../../src/db/connection.ts';

const HOUR_SECONDS = 3_600;
const WRITES_A_BATCH = 'gatehouse_insert_audit_batch';
const A_WHILE_MILLISECONDS = 15_000;

for (const [node, outageSeconds] of [
  ['a node that keeps entries during an outage', '300'],
  ['a node that keeps no entries during an outage', '0'],
] as const) {
  describe(`a count of refusals that ${node} sends as the database breaks off`, () => {
    let database: TestDatabase;
    let way: Way;
    let gatehouse: OwnGatehouse;
    let aheadSeconds = 0;
    before(async () => {
      database = await cloneDatabase();
      way = await Way.to(database);
      gatehouse = await startGatehouse({
        databaseUrl: way.url(database),
        clock: () => addSeconds(new Date(), aheadSeconds),
        environment: {
          GATEHOUSE_OUTAGE_SECONDS: outageSeconds,
          GATEHOUSE_DATABASE_PATIENCE_MILLISECONDS: '1000',
        },
      });
    });
    after(async () => {
      await gatehouse.stop();
      way.close();
      await database.drop();
    });

    it('is on record once', async () => {
      for (let n = 0; n < 9; n++) {
        const answer = await fetch(`${gatehouse.url}/userinfo`, { headers: { authorization: 'Bearer junk' } });
        assert.equal(answer.status, 401);
      }
      aheadSeconds = HOUR_SECONDS;
      await eventually(async () => (await gauge('gatehouse_change_log_age_seconds')) < 60, A_WHILE_MILLISECONDS);
      way.muteAt(WRITES_A_BATCH);
      await assert.rejects(gatehouse.runJobs('repeated_refusals'));
      assert.deepEqual(await counts(), [4], 'the database has not done what it was asked');
      way.open();
      await eventually(
        async () => (await isReady()) && (await gauge('gatehouse_audit_entries_held')) === 0,
        A_WHILE_MILLISECONDS,
      );
      await gatehouse.runJobs('repeated_refusals');
      assert.deepEqual(await counts(), [4]);
      await proofOf(gatehouse);
    });

    /** Past the way that is held up. */
    async function counts(): Promise<number[]> {
      const pool = createPool({ connectionString: database.url, maxConnections: 1, onIdleError: () => {} });
      const rows = await createDatabase(pool)
        .selectFrom('audit_events')
        .select('details')
        .where('event', '=', 'userinfo.refused')
        .execute();
      await pool.end();
      return rows.flatMap(({ details }) => (details as { repeated?: { count: number } }).repeated?.count ?? []);
    }

    async function isReady(): Promise<boolean> {
      const answer = await fetch(`${gatehouse.managementUrl}/readyz`);
      return /"database":"ok"/.test(await answer.text());
    }

    async function gauge(name: string): Promise<number> {
      const text = await (await fetch(`${gatehouse.managementUrl}/metrics`)).text();
      return Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1]);
    }
  });
}
