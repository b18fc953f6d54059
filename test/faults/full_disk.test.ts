import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { Cluster } from '../support/node/unreachable_database.ts';
import { proofOf } from '../support/node/audit_evidence.ts';
import { eventually } from '../support/node/operator.ts';
import { Outage } from '../support/node/outage.ts';

/** `npm run test:faults` keeps the disk full for this long; `npm test` for a moment. */
const FULL_MILLISECONDS = Number(process.env.FAULT_SECONDS ?? 0) * 1_000;

describe('a database whose disk is full', () => {
  let cluster: Cluster | undefined;
  let outage: Outage | undefined;
  let why = '';
  before(async () => {
    cluster = await Cluster.startOnSmallDisk().catch((error: unknown) => {
      why = String(error);
      return undefined;
    });
    if (cluster) outage = await Outage.prepare(cluster);
  });
  after(async () => {
    await outage?.stop();
    await cluster?.stop();
  });

  it('costs known clients no token, all else gets a 503 at once, and nothing is lost when the disk has space again', async (test) => {
    if (!cluster || !outage) return test.skip(`A small disk can't be mounted here: ${why}`);
    const [its, at] = [outage, cluster];
    const newcomer = await its.newcomer();
    await at.fillDisk();
    // pages with free space take some entries first
    let asked = 0;
    while ((await its.gauge('gatehouse_audit_entries_held')) === 0) {
      await Promise.all(Array.from({ length: 20 }, () => its.token()));
      assert.ok((asked += 20) < 20_000, 'the disk is not full');
    }
    await its.nothingIsHidden();
    const slowest = await its.nothingHangs(newcomer);
    const until = performance.now() + FULL_MILLISECONDS;
    do await Promise.all(Array.from({ length: 20 }, () => its.token()));
    while (performance.now() < until && (await delay(20, true)));
    const held = await its.gauge('gatehouse_audit_entries_held');
    test.diagnostic(
      `${asked} tokens until the disk was full, slowest 503 then ${Math.round(slowest)} ms, ${held} entries held`,
    );
    await at.makeRoom();
    await its.isBack();
    await its.token();
    await its.everyTokenIsOnRecord();
    await eventually(async () => (await its.ask(newcomer)).response.status === 200);
    await proofOf(its.gatehouse);
  });
});
