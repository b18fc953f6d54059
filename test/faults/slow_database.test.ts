import assert from 'node:assert/strict';
import { after, before, describe, it, type TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { RegisteredClient } from '../support/node/operator.ts';
import { Outage, requests, time, type Timed } from '../support/node/outage.ts';

/** `npm run test:faults` slows the database down for longer, under a heavier load. */
const LONG = Number(process.env['FAULT_SECONDS'] ?? 0) > 0;
const SECONDS = LONG ? 12 : 4;
const PER_SECOND = LONG ? 100 : 40;
/** `statement_timeout`; what the load itself takes on a machine that does much else comes on top. */
const IN_TIME_MILLISECONDS = 5_000 + (LONG ? 0 : 2_000);
/** Of requests for tokens, most of which need no more than a place in the audit trail. */
const TOKENS_SHARE = 0.7;

describe('a node whose database is slow', () => {
  let outage: Outage;
  before(async () => {
    outage = await Outage.start();
  });
  after(() => outage?.stopAll());

  /** Requests of all kinds at a steady rate, however late the answers are. */
  async function load(test: TestContext, newcomer: RegisteredClient): Promise<readonly Timed[]> {
    const others = Object.entries(requests(outage.gatehouse, outage.clients, newcomer));
    const asked: Promise<Timed>[] = [];
    const began = performance.now();
    for (let index = 0; performance.now() - began < SECONDS * 1_000; index++) {
      const [what, ask] = others[index % others.length]!;
      asked.push(index % 10 < TOKENS_SHARE * 10 ? outage.ask() : time(what, ask));
      await delay(Math.max(0, began + (index * 1_000) / PER_SECOND - performance.now()));
    }
    const answers = await Promise.all(asked);
    const sorted = answers.map(({ milliseconds }) => Math.round(milliseconds)).toSorted((a, b) => a - b);
    const withheld = answers.filter(({ response }) => response.status === 503).length;
    const slowest = answers.toSorted((a, b) => b.milliseconds - a.milliseconds).slice(0, 3);
    test.diagnostic(
      `${answers.length} answers, p50 ${sorted[Math.floor(sorted.length / 2)]} ms, p99 ${sorted[Math.floor(sorted.length * 0.99)]} ms, ` +
        `worst ${sorted.at(-1)} ms (${slowest.map(({ what }) => what).join(', ')}), ${Math.round((100 * withheld) / answers.length)} % were 503`,
    );
    return answers;
  }

  function allInTime(answers: readonly Timed[]): void {
    for (const { what, response, text, milliseconds } of answers) {
      assert.ok(response.status < 500 || response.status === 503, `${what}: ${response.status} ${text}`);
      assert.notEqual(response.status, 429, `${what}: ${text}`);
      if (response.status === 503) assert.ok(Number(response.headers.get('retry-after')) >= 1, what);
      assert.ok(
        milliseconds < IN_TIME_MILLISECONDS,
        `${what}: ${response.status} after ${Math.round(milliseconds)} ms`,
      );
    }
  }

  it('answers everything within the statement time-out while a table is locked, and early where it can not serve (FIELD-H4)', async (test) => {
    const newcomer = await outage.newcomer();
    const operator = await outage.cluster.connect();
    await operator.query('begin');
    await operator.query('lock table audit_events in access exclusive mode');
    const answers = await load(test, newcomer);
    await operator.query('commit');
    await operator.end();
    allInTime(answers);
    const early = answers.filter(({ response, milliseconds }) => response.status === 503 && milliseconds < 1_500);
    const late = answers.filter(({ response, milliseconds }) => response.status === 503 && milliseconds >= 1_500);
    assert.ok(early.length > late.length, `${early.length} were refused early, ${late.length} late.`);
    await outage.token();
    await outage.everyTokenIsOnRecord();
  });

  it('answers everything within the statement time-out while each answer of the database takes 0.4 s (FIELD-H4)', async (test) => {
    const newcomer = await outage.newcomer();
    outage.way.slowDown(200);
    const answers = await load(test, newcomer).finally(() => outage.way.open());
    allInTime(answers);
    assert.ok(answers.some(({ response }) => response.status === 200));
    await outage.isBack();
    await outage.everyTokenIsOnRecord();
  });
});
