import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Breaker } from '../../src/db/breaker.ts';
import { ClockDifference } from '../../src/db/clock_difference.ts';
import { cloneDatabase, type TestDatabase } from '../support/node/database.ts';
import { eventually } from '../support/node/operator.ts';

/** Probes at rest come every 2 s: so many of them would take 24 s. */
const PROBES = 12;

describe('the breaker of the database', () => {
  let database: TestDatabase;
  before(async () => {
    database = await cloneDatabase();
  });
  after(() => database.drop());

  it('does not rest while its probes have work left, though no request arrives', async () => {
    const clock = (): Date => new Date();
    const breaker = new Breaker({
      connectionString: database.url,
      patienceMilliseconds: 5_000,
      clock,
      difference: new ClockDifference({ clock, atMostSeconds: 0, onChange: () => {} }),
      onOpen: () => {},
      onClose: () => {},
    });
    let left = PROBES;
    breaker.alsoTry(() => Promise.resolve(--left <= 0));
    breaker.start();
    await eventually(() => Promise.resolve(left <= 0), 15_000);
    await breaker.stop();
    assert.ok(left <= 0);
  });
});
