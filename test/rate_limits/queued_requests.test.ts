import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { FairQueue } from '../../src/limits/fair_queue.ts';
import { postForm, startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { registerClient, type RegisteredClient } from '../support/node/operator.ts';

/** More than ever waited before one was refused, and far less than the client's limit. */
const AT_ONCE = 300;

describe('a client whose own requests queue', () => {
  let gatehouse: Gatehouse;
  let busy: RegisteredClient;
  let other: RegisteredClient;
  let operator: pg.Client;
  before(async () => {
    gatehouse = await startGatehouse({
      environment: { GATEHOUSE_CLIENT_REQUESTS_PER_SECOND: '10000', GATEHOUSE_CLIENT_REQUESTS_BURST: '10000' },
    });
    [busy, other] = [await registerClient(gatehouse), await registerClient(gatehouse)];
    operator = new pg.Client({ connectionString: gatehouse.databaseUrl });
    await operator.connect();
  });
  after(async () => {
    await operator.end();
    await gatehouse.stop();
  });

  const token = (client: RegisteredClient): Promise<Response> =>
    postForm(`${gatehouse.url}/token`, { grant_type: 'client_credentials' }, client);

  /** The database takes no entries of the audit trail for so long, while two clients ask. */
  async function statusesWhileStuckFor(milliseconds: number): Promise<number[]> {
    await Promise.all([token(busy), token(other)]);
    await operator.query('begin');
    await operator.query('lock table audit_links in access exclusive mode');
    const others: Promise<Response>[] = [];
    const asking = setInterval(() => others.push(token(other)), 50);
    const asked = Promise.all(Array.from({ length: AT_ONCE }, () => token(busy)));
    await delay(milliseconds);
    clearInterval(asking);
    await operator.query('commit');
    const answers = [...(await Promise.all(others)), ...(await asked)];
    for (const answer of answers) {
      if (answer.status === 503) assert.ok(Number(answer.headers.get('retry-after')) >= 1, await answer.text());
    }
    return answers.map(({ status }) => status);
  }

  it('within its limit is served after a short halt, and never refused with 429 (FIELD-H5)', async () => {
    const statuses = await statusesWhileStuckFor(200);
    assert.ok(!statuses.includes(429));
    assert.ok(statuses.filter((status) => status === 200).length > AT_ONCE / 4, JSON.stringify(statuses));
  });

  it('gets 503 and not 429 where the node is slow, and pays nothing for it (FIELD-H5)', async () => {
    const statuses = await statusesWhileStuckFor(2_000);
    assert.deepEqual([...new Set(statuses.filter((status) => status !== 200))], [503]);
    const metrics = await (await fetch(`${gatehouse.managementUrl}/metrics`)).text();
    assert.match(metrics, /^gatehouse_requests_refused_total\{limit="client"\} 0$/m);
  });
});

describe('places in the fair queue', () => {
  /** Two clients ask, so neither is alone. */
  function busyTurns(): { turns: FairQueue; waits: Promise<boolean>[]; clock: { now: number } } {
    const clock = { now: 0 };
    const turns = new FairQueue(() => clock.now);
    void turns.take('other', 0);
    const taken = Array.from({ length: 10 }, () => turns.take('busy', 0));
    return { turns, waits: taken.filter((turn) => turn !== undefined), clock };
  }

  it('are given to waiting requests while those under way wait for the database (FIELD-H5)', async () => {
    const { turns, waits, clock } = busyTurns();
    assert.equal(waits.length, 6);
    void turns.take('other', 120);
    clock.now = 120;
    // nothing under way has ended: after 0.1 s it takes no time of the node
    assert.deepEqual(await Promise.all(waits.slice(0, 4)), [true, true, true, true]);
    void turns.take('other', 240);
    clock.now = 240;
    assert.deepEqual(
      await Promise.all(waits),
      Array.from({ length: 6 }, () => true),
    );
  });

  it('that do not come in time are given up, and newcomers are told so at once (FIELD-H5)', async () => {
    const turns = new FairQueue(() => 1_600);
    void turns.take('other', 0);
    const waits = Array.from({ length: 104 }, () => turns.take('busy', 0)).filter((turn) => turn !== undefined);
    assert.equal(waits.length, 100);
    assert.equal(turns.refuses('busy', 100), undefined);
    assert.equal(turns.refuses('other', 900), undefined);
    assert.equal(turns.refuses('busy', 900), 5);
    void turns.take('other', 1_590);
    const came = (await Promise.all(waits)).filter(Boolean);
    assert.equal(came.length, 4);
  });
});
