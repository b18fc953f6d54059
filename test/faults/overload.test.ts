import assert from 'node:assert/strict';
import { after, before, describe, it, type TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { Loaded } from '../support/client/load_generator.ts';
import { LoadedServer } from '../support/node/loaded_server.ts';

/**
 * `npm run test:faults` measures for this long, in rounds, and holds the node to what is promised. `npm test` looks for a
 * moment, on a machine that does other things at once: it only sees what is wrong by far, and looks again before it says so.
 */
const SECONDS = Number(process.env['FAULT_SECONDS'] ?? 0);
const STRICT = SECONDS > 0;
const ROUND_SECONDS = STRICT ? 6 : 3;
const ROUNDS = STRICT ? Math.max(3, Math.round(SECONDS / ROUND_SECONDS / 2)) : 1;
const LOOKS = STRICT ? 1 : 4;
const TOKENS_PER_SECOND = 100;
const LATE_MILLISECONDS = STRICT ? 500 : 3_000;

describe('a node that is asked for more than its share', () => {
  let loaded: LoadedServer;
  before(async () => {
    loaded = await LoadedServer.start({
      GATEHOUSE_CLIENT_REQUESTS_PER_SECOND: '100',
      GATEHOUSE_CLIENT_REQUESTS_BURST: '200',
    });
    await crowd();
  });
  after(() => loaded.stop());

  const crowd = (): Promise<Loaded> => loaded.tokens(TOKENS_PER_SECOND, ROUND_SECONDS);

  /** How the crowd's p99 beside a load compares with the one at rest: rounds in turn, since the machine changes, too. */
  async function ratioOfP99(test: TestContext, load: (seconds: number) => Promise<Loaded>): Promise<number> {
    const rest: number[] = [];
    const beside: number[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      rest.push(served(await crowd()).p99);
      // the load begins before those who are measured, with its burst, and ends after them
      const loading = load(ROUND_SECONDS + 4);
      const during = await delay(2_000).then(crowd);
      const of = await loading;
      beside.push(served(during).p99);
      test.diagnostic(`p99 ${rest.at(-1)!.toFixed(1)} ms at rest, ${during.p99.toFixed(1)} ms beside ${described(of)}`);
    }
    return median(beside) / median(rest);
  }

  async function holds(test: TestContext, promised: number, load: (seconds: number) => Promise<Loaded>) {
    const most = STRICT ? promised : promised * 4;
    let ratio = Infinity;
    for (let look = 0; look < LOOKS && ratio > most; look++) ratio = await ratioOfP99(test, load);
    assert.ok(ratio <= most, `p99 is ${ratio.toFixed(2)} times that at rest.`);
  }

  it('lets a client that floods move the p99 of the others by no more than half', (test) =>
    holds(test, 1.5, async (seconds) => {
      const flood = await loaded.flood(32, seconds);
      assert.ok((flood.statuses['429'] ?? 0) > 0);
      assert.deepEqual(Object.keys(flood.statuses).toSorted(), ['200', '429']);
      return flood;
    }));

  it('lets a storm of logins move the p99 of tokens to no more than twice that at rest', (test) =>
    holds(test, 2, async (seconds) => {
      const logins = await loaded.logins(32, seconds);
      assert.ok((logins.statuses['401'] ?? 0) > 0);
      return logins;
    }));

  it('tells most of those who try to log in to retry when too many passwords wait', async (test) => {
    const logins = await loaded.logins(160, ROUND_SECONDS + 4);
    test.diagnostic(described(logins));
    assert.ok((logins.statuses['503'] ?? 0) > 0);
    assert.deepEqual(
      Object.keys(logins.statuses).filter((status) => !['401', '503'].includes(status)),
      [],
    );
    served(await crowd());
  });
});

describe('a node that all ask for more than it can', () => {
  let loaded: LoadedServer;
  before(async () => {
    loaded = await LoadedServer.start({ GATEHOUSE_OVERLOAD_MILLISECONDS: '10' });
  });
  after(() => loaded.stop());

  it('says so to some at once, serves others in time, and all again when that is over', async (test) => {
    let much: Loaded | undefined;
    // how many are too many depends on the machine, and on what else it does
    for (const connections of [500, 1_000, 2_000]) {
      much = await loaded.flood(connections, ROUND_SECONDS + 3, loaded.crowd);
      test.diagnostic(described(much));
      if ('503' in much.statuses) break;
    }
    assert.deepEqual(Object.keys(much!.statuses).toSorted(), ['200', '503']);
    // not the p99: Node takes in one new connection a turn of its loop, which is not the answers' fault
    assert.ok(much!.p50 < LATE_MILLISECONDS);
    const later = await loaded.tokens(20, 2);
    assert.ok((later.statuses['200'] ?? 0) > 0);
  });
});

function served(load: Loaded): Loaded {
  assert.deepEqual(Object.keys(load.statuses), ['200'], described(load));
  return load;
}

function described({ perSecond, p50, p99, statuses }: Loaded): string {
  return `${perSecond.toFixed(0)}/s (${JSON.stringify(statuses)}), p50 ${p50.toFixed(1)} ms, p99 ${p99.toFixed(1)} ms`;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!;
}
