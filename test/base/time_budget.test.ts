import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import {
  connectionWaitMilliseconds,
  lockWaitMilliseconds,
  notCounted,
  outsideTimeBudget,
  requireTimeForStatement,
  requireTimeToWait,
  withinTimeBudget,
  withTimeBudget,
} from '../../src/base/time_budget.ts';
import { Unavailable } from '../../src/base/unavailable.ts';

const RUNNING = { headersSent: false, destroyed: false };

/** Runs `work` in a request that began so many milliseconds ago. */
function after<T>(milliseconds: number, work: () => T, response = RUNNING): T {
  return withTimeBudget({ began: performance.now() - milliseconds, milliseconds: 5_000, response }, work);
}

describe('the time budget of a request', () => {
  it('leaves less time for a connection and for locks the later it is', () => {
    const wait = after(1_000, connectionWaitMilliseconds)!;
    assert.ok(wait > 1_900 && wait <= 2_000, `${wait} ms`);
    const locks = after(1_000, lockWaitMilliseconds)!;
    assert.ok(locks > 2_900 && locks <= 3_000, `${locks} ms`);
    assert.equal(after(60_000, lockWaitMilliseconds), 100);
  });

  it('refuses to begin a wait after 3 s, and to send a statement after 4 s', () => {
    assert.throws(() => after(3_001, connectionWaitMilliseconds), Unavailable);
    assert.throws(() => after(3_001, requireTimeToWait), Unavailable);
    after(3_001, requireTimeForStatement);
    assert.throws(() => after(4_001, requireTimeForStatement), Unavailable);
  });

  it('does not exist outside a request, in shared work, and once the response has begun or was aborted', () => {
    const late = () => [connectionWaitMilliseconds(), lockWaitMilliseconds(), requireTimeForStatement()];
    const none = [undefined, undefined, undefined];
    assert.deepEqual(late(), none);
    assert.deepEqual(
      after(60_000, () => outsideTimeBudget(late)),
      none,
    );
    assert.deepEqual(after(60_000, late, { ...RUNNING, headersSent: true }), none);
    assert.deepEqual(after(60_000, late, { ...RUNNING, destroyed: true }), none);
  });

  it('follows the request through what it waits for', async () => {
    const later = async () => {
      await delay(1);
      return connectionWaitMilliseconds();
    };
    await assert.rejects(after(3_001, later), Unavailable);
    assert.equal(await later(), undefined);
  });

  it('ends the wait for work that goes on by itself', async () => {
    const endless = new Promise<never>(() => {});
    await assert.rejects(
      after(3_990, () => withinTimeBudget(endless)),
      Unavailable,
    );
    assert.equal(await after(60_000, () => withinTimeBudget(Promise.resolve('done'))), 'done');
    await assert.rejects(
      after(0, () => withinTimeBudget(Promise.reject(new Error('its own')))),
      /its own/,
    );
  });

  it('does not count work that has a limit of its own', async () => {
    const left = await after(2_000, async () => {
      await notCounted(() => delay(300));
      return connectionWaitMilliseconds();
    });
    assert.ok(left! > 700 && left! <= 1_000, `${left} ms`);
  });
});
