import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { sql } from 'kysely';
import { startGatehouse, type OwnGatehouse } from '../support/node/gatehouse.ts';

/** One kind's entries of their own, and more. */
const OWN_ENTRIES = 5;
const REFUSALS = 7;

describe('a refusal that could not be recorded', () => {
  let gatehouse: OwnGatehouse;
  before(async () => {
    gatehouse = await startGatehouse();
  });
  after(() => gatehouse.stop());

  const junk = (path: string): Promise<Response> =>
    fetch(gatehouse.url + path, { headers: { authorization: 'Bearer junk' } });

  for (const [path, event] of [
    ['/userinfo', 'userinfo.refused'],
    ['/admin/v1/clients', 'admin_call.refused'],
  ] as const) {
    it(`takes no entry from those that follow, and is not counted: at ${path}`, async () => {
      await sql`alter table audit_events rename to audit_events_away`.execute(gatehouse.database);
      const withheld: number[] = [];
      for (let n = 0; n < REFUSALS; n++) withheld.push((await junk(path)).status);
      await sql`alter table audit_events_away rename to audit_events`.execute(gatehouse.database);
      assert.deepEqual(withheld, Array<number>(REFUSALS).fill(503));
      for (let n = 0; n < REFUSALS; n++) assert.equal((await junk(path)).status, 401);
      const rows = await gatehouse.database
        .selectFrom('audit_events')
        .select('request_id')
        .where('event', '=', event)
        .execute();
      assert.equal(rows.length, OWN_ENTRIES);
    });
  }
});
