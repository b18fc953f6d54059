import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { LatestWins } from '../../src/base/latest_wins.ts';

describe('of reads that are under way at once', () => {
  let newest: LatestWins;
  let inForce: string[];
  beforeEach(() => {
    newest = new LatestWins();
    inForce = [];
  });

  /** Begins a read; `arrive` and `fail` end it. */
  function begin(found: string) {
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    const done = newest.run(
      () => promise,
      (value) => void inForce.push(value),
    );
    return {
      arrive: () => (resolve(found), done),
      fail: () => (reject(new Error(found)), assert.rejects(done, new Error(found))),
    };
  }

  it('one that ends after a later one is dropped', async () => {
    const [older, newer] = [begin('older'), begin('newer')];
    await newer.arrive();
    await older.arrive();
    assert.deepEqual(inForce, ['newer']);
  });

  it('each counts where they end as they began', async () => {
    const [older, newer] = [begin('older'), begin('newer')];
    await older.arrive();
    await newer.arrive();
    assert.deepEqual(inForce, ['older', 'newer']);
  });

  it('one between two others is dropped like the first', async () => {
    const [first, second, third] = [begin('first'), begin('second'), begin('third')];
    await third.arrive();
    await second.arrive();
    await first.arrive();
    await begin('fourth').arrive();
    assert.deepEqual(inForce, ['third', 'fourth']);
  });

  it('an older one counts where the later one fails, and the failure is reported', async () => {
    const [older, newer] = [begin('older'), begin('newer')];
    await newer.fail();
    await older.arrive();
    assert.deepEqual(inForce, ['older']);
  });
});
