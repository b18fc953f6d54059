import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { sql } from 'kysely';
import { hashOf, type Entry } from '../../src/audit/chain.ts';
import { dropPartitions, makePartitions } from '../../src/audit/partitions.ts';
import { moveClock, resetClock } from '../support/node/clock.ts';
import { exportOf, keysOf, problemOf, proofIn, proofOf, tamper } from '../support/node/audit_evidence.ts';
import { requestToken, startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { openTrail } from '../support/node/audit_trail.ts';

const DAY_SECONDS = 86_400;

describe('the retention of the audit trail', () => {
  let gatehouse: Gatehouse;
  beforeEach(async () => {
    gatehouse = await startGatehouse({ environment: { GATEHOUSE_AUDIT_RETENTION_DAYS: '60' } });
  });
  afterEach(async () => {
    resetClock();
    await gatehouse.stop();
  });

  const tables = async (): Promise<string[]> => {
    const { rows } = await sql<{ name: string }>`select relname as name from pg_class
      where relkind = 'r' and relname like 'audit_events_%' order by 1`.execute(gatehouse.database);
    return rows.map(({ name }) => name);
  };
  const count = async (): Promise<number> =>
    (await gatehouse.database.selectFrom('audit_events').select('event').execute()).length;

  it('drops old months whole, and what remains is proven as before', async () => {
    const { database } = gatehouse;
    await requestToken(gatehouse.url, gatehouse.demo);
    const whole = await proofOf(gatehouse);
    assert.equal(whole.first?.number, 1);
    const old = await count();

    moveClock(100 * DAY_SECONDS);
    await makePartitions(database, new Date());
    await requestToken(gatehouse.url, gatehouse.demo);
    const retainedFrom = new Date(Date.UTC(new Date().getUTCFullYear(), new Date().getUTCMonth() - 1));
    // two nodes at once
    const trail = await openTrail(database);
    await Promise.all([dropPartitions(database, trail, retainedFrom), dropPartitions(database, trail, retainedFrom)]);
    assert.ok((await count()) < old);

    const text = await exportOf(gatehouse);
    const proof = await proofIn(text, await keysOf(gatehouse));
    assert.ok(proof.entries > 0);
    const dropped = await database
      .selectFrom('audit_events')
      .select('details')
      .where('event', '=', 'audit.entries_dropped')
      .execute();
    const months = dropped.map(({ details }) => details['before']);
    assert.ok(months.length > 0);
    assert.equal(new Set(months).size, months.length, 'A month was dropped twice.');
  });

  it('is no excuse for what is younger', async () => {
    moveClock(100 * DAY_SECONDS);
    await requestToken(gatehouse.url, gatehouse.demo);
    await exportOf(gatehouse);
    await tamper(
      gatehouse.database,
      sql`delete from audit_events where (stream, sequence) in (select stream, sequence from audit_events
        where event = 'token.issued' order by occurred_at desc limit 1)`,
    );
    assert.match(await problemOf(gatehouse), /^Entry \d+ of stream .+ was removed/);
  });

  it('is no excuse for what was put in the place of something old', async () => {
    const { database, url, demo } = gatehouse;
    await requestToken(url, demo);
    await requestToken(url, demo);
    await proofOf(gatehouse);
    const link = await database
      .selectFrom('audit_links')
      .selectAll()
      .where('number', '=', 2)
      .orderBy('begins_at', 'desc')
      .executeTakeFirstOrThrow();
    const forged: Entry = {
      stream: link.stream,
      sequence: 1,
      occurred_at: new Date().toISOString(),
      event: 'client.restored',
      outcome: 'success',
      actor: { type: 'system' },
      account_id: null,
      client_id: 'forged',
      address: null,
      request_id: null,
      details: {},
    };
    // in a part that may be missing by then, and whose end is taken away
    moveClock(200 * DAY_SECONDS);
    await tamper(
      database,
      sql`delete from audit_events where stream = ${link.stream}`,
      sql`delete from audit_links where stream = ${link.stream} and number > 1`,
      sql`update audit_links set entries = ${Buffer.from(hashOf(forged), 'base64url')}, first_sequence = 1
        where stream = ${link.stream}`,
      sql`insert into audit_events (stream, sequence, occurred_at, event, outcome, actor_type, client_id, details)
        values (${link.stream}, 1, ${forged.occurred_at}, 'client.restored', 'success', 'system', 'forged', '{}')`,
    );
    assert.match(await problemOf(gatehouse), new RegExp(`of stream ${link.stream} (was|were) removed`));
  });

  it('makes months ahead, once, and gives them what the default partition had taken', async () => {
    const { database } = gatehouse;
    const far = new Date(Date.UTC(2031, 4, 5));
    await sql`insert into audit_events (stream, sequence, occurred_at, event, outcome, actor_type, details)
      values ('00000000-0000-4000-8000-000000000001', 1, ${far}, 'logout.completed', 'success', 'system', '{}')`.execute(
      database,
    );
    await Promise.all([makePartitions(database, far), makePartitions(database, far)]);
    const made = await tables();
    for (const month of ['2031_05', '2031_06', '2031_07']) assert.ok(made.includes(`audit_events_${month}`), month);
    const { rows } = await sql<{ at: Date }>`select occurred_at as at from audit_events_2031_05`.execute(database);
    assert.deepEqual(rows, [{ at: far }]);
    for (const statement of [sql`delete from audit_events_2031_05`, sql`truncate audit_events_2031_05`])
      await assert.rejects(statement.execute(database), /appended to, never changed/);
  });

  it('takes entries of any time, also from a clock that is years off', async () => {
    moveClock(10 * 365 * DAY_SECONDS);
    await requestToken(gatehouse.url, gatehouse.demo);
  });
});

describe('a clock that goes back', () => {
  let gatehouse: Gatehouse;
  before(async () => {
    gatehouse = await startGatehouse();
  });
  after(() => gatehouse.stop());
  afterEach(resetClock);

  it('breaks no proof', async () => {
    for (const seconds of [0, 7_200, -7_000, 90_000, -90_100]) {
      moveClock(seconds);
      await requestToken(gatehouse.url, gatehouse.demo);
      await exportOf(gatehouse);
    }
    const { last } = await proofOf(gatehouse);
    assert.ok(last!.number >= 5);
  });
});
