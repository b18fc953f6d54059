import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { sql } from 'kysely';
import { resetClock } from '../support/node/clock.ts';
import { Days, type Size } from '../support/client/daily_traffic.ts';
import { proofOf } from '../support/node/audit_evidence.ts';
import { startGatehouse, type OwnGatehouse } from '../support/node/gatehouse.ts';

/** `npm run test:faults` lets ninety days pass; `npm test` a few, with less going on. */
const [DAYS, TRAFFIC] = process.env.FAULT_SECONDS
  ? [90, { tokens: 40, logins: 3, others: 1 }]
  : [4, { tokens: 10, logins: 1, others: 1 }];

/** Rows live as long as their session or token: all lifetimes are at most a day, so that two days are enough. */
const A_DAY = {
  GATEHOUSE_SESSION_TTL_SECONDS: '86400',
  GATEHOUSE_REFRESH_TTL_SECONDS: '86400',
  GATEHOUSE_REFRESH_ABSOLUTE_TTL_SECONDS: '86400',
  GATEHOUSE_KEY_ROTATION_DAYS: '1',
};
const RETENTION_DAYS = 1;

describe('the database does not grow with time', () => {
  let gatehouse: OwnGatehouse;
  before(async () => {
    gatehouse = await startGatehouse({
      environment: { ...A_DAY, GATEHOUSE_AUDIT_RETENTION_DAYS: String(RETENTION_DAYS), LOG_LEVEL: 'error' },
    });
  });
  after(async () => {
    resetClock();
    await gatehouse.stop();
  });

  it(`after ${DAYS} days it is no larger than after two, the trail no larger than its retention says`, async (test) => {
    const days = await Days.begin(gatehouse, TRAFFIC);
    const sizes: Size[] = [];
    for (let day = 1; day <= DAYS; day++) {
      sizes.push(await days.pass());
      if (day % 10 === 0 || day <= 3 || day === DAYS) test.diagnostic(`day ${day}: ${shown(sizes.at(-1)!)}`);
    }
    const [second, last] = [sizes[1]!, sizes.at(-1)!];
    test.diagnostic(byTable(second, last));
    // two pages: how rows that come and go lie in them is never quite the same
    const grown = [...last.tables].filter(([name, bytes]) => bytes > (second.tables.get(name) ?? 0) * 1.05 + 16_384);
    assert.deepEqual(grown, [], `${shown(second)}, then ${shown(last)}: ${byTable(second, last)}`);
    assert.ok(last.dictionary < 4 * 1024 * 1024, kilobytes(last.dictionary));

    // months are dropped whole: this one, the one before, and one more of links
    const { rows } = await sql<{ months: number }>`select count(*)::int as months from pg_inherits i
      join pg_class c on c.oid = i.inhrelid where i.inhparent = 'audit_events'::regclass
      and pg_relation_size(c.oid) > 0`.execute(gatehouse.database);
    assert.ok(rows[0]!.months <= 2, `${rows[0]!.months} months of entries are there.`);
    await proofOf(gatehouse);
  });
});

function sum({ tables }: Size): number {
  return [...tables.values()].reduce((total, bytes) => total + bytes, 0);
}

function shown(size: Size): string {
  return `${kilobytes(sum(size))} and ${kilobytes(size.trail)} of the trail`;
}

function byTable(then: Size, now: Size): string {
  const lines = [...now.tables].map(
    ([name, bytes]) => `${name} ${kilobytes(then.tables.get(name) ?? 0)} → ${kilobytes(bytes)}`,
  );
  return lines.join(', ');
}

function kilobytes(bytes: number): string {
  return `${Math.round(bytes / 1024).toLocaleString('en')} kB`;
}
