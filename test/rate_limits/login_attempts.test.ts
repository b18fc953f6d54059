import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { after, afterEach, before, describe, it } from 'node:test';
import type pg from 'pg';
import { addSeconds } from '../../src/base/clock.ts';
import type { Digest } from '../../src/base/secret.ts';
import { createDatabase, type Database } from '../../src/db/connection.ts';
import type { Attempted } from '../../src/limits/attempt_limiter.ts';
import { LoginAttempts, type LoginPlace } from '../../src/limits/login_attempts.ts';
import { removeExpiredRows } from '../../src/maintenance/expired_rows.ts';
import { moveClock, resetClock } from '../support/node/clock.ts';
import { cloneDatabase, type TestDatabase, patientPool } from '../support/node/database.ts';

const HOME = '203.0.113.1';
const BROWSER = 'b'.repeat(43);

describe('attempts to log in', () => {
  let clone: TestDatabase;
  let pool: pg.Pool;
  let database: Database;
  /** As two nodes have them. */
  let nodes: readonly [LoginAttempts, LoginAttempts];

  before(async () => {
    clone = await cloneDatabase();
    pool = patientPool(clone.url, 10);
    database = createDatabase(pool);
    const digest = (text: string): Digest => createHmac('sha256', 'a key').update(text).digest() as Digest;
    const settings = { database, digest, clock: () => new Date() };
    nodes = [new LoginAttempts(settings), new LoginAttempts(settings)];
  });
  after(async () => {
    await pool.end();
    await clone.drop();
  });
  afterEach(resetClock);

  function attempt(
    email: string,
    place: LoginPlace,
    right: boolean,
    node = nodes[0],
    check: () => Promise<unknown> = () => Promise.resolve(),
  ): Promise<Attempted<boolean>> {
    const make = async (): Promise<boolean> => {
      await check();
      return right;
    };
    return node.attempt({ email, place, now: new Date() }, make, (outcome) => outcome);
  }

  const guess = async (email: string, address: string): Promise<boolean> =>
    (await attempt(email, { address }, false)).admitted;

  /** Logs in; answers what the browser's cookie is from then on, or false where the login was refused. */
  async function logIn(email: string, place: LoginPlace): Promise<string | false> {
    const { admitted } = await attempt(email, place, true);
    return admitted && nodes[0].remember(email, place, new Date());
  }

  /** Guesses at an account from many addresses; answers how many guesses were let through. */
  async function guessFrom(addresses: number, email: string, each: number): Promise<number> {
    let admitted = 0;
    for (let index = 0; index < addresses; index++) {
      for (let n = 0; n < each; n++) admitted += (await guess(email, `198.51.100.${index}`)) ? 1 : 0;
    }
    return admitted;
  }

  it('are limited for an account, however many addresses they come from', async () => {
    assert.equal(await guessFrom(20, 'victim@example.com', 4), 30);
  });

  it('do not lock the owner out at an address where the owner has logged in before', async () => {
    assert.ok(await logIn('owner@example.com', { address: HOME }));
    await guessFrom(20, 'owner@example.com', 4);
    assert.equal(await guess('owner@example.com', '203.0.113.2'), false, 'elsewhere the limit holds');
    assert.ok(await logIn('owner@example.com', { address: HOME }));
  });

  it('are limited at such an address too', async () => {
    assert.ok(await logIn('at-home@example.com', { address: HOME }));
    const guesses = await Promise.all(Array.from({ length: 20 }, () => guess('at-home@example.com', HOME)));
    assert.equal(guesses.filter(Boolean).length, 5);
  });

  it('in a browser count for its owner alone only where the owner brought no value that others know (FIELD-B9)', async () => {
    const email = 'shared@example.com';
    const kept = await logIn(email, { address: HOME, browser: BROWSER });
    assert.notEqual(kept, BROWSER, 'the browser was given a value of its own');
    // from elsewhere, with the value that was put into the browser before
    for (let n = 0; n < 11; n++) await attempt(email, { address: `198.18.7.${n}`, browser: BROWSER }, false);
    assert.equal(await logIn(email, { address: '198.18.8.1', browser: kept || undefined }), kept);
  });

  it('in a browser in which the owner has logged in before are the owner’s alone, also while others guess at the same address', async () => {
    const email = 'kiosk@example.com';
    const browser = await logIn(email, { address: HOME });
    assert.ok(browser !== false);
    for (let n = 0; n < 6; n++) await guess(email, HOME);
    assert.equal(await logIn(email, { address: HOME }), false);
    assert.equal(await logIn(email, { address: HOME, browser: 'c'.repeat(43) }), false, 'any other cookie is no help');
    assert.equal(await logIn(email, { address: HOME, browser }), browser);
    const wrong = [];
    for (let n = 0; n < 7; n++) wrong.push((await attempt(email, { address: HOME, browser }, false)).admitted);
    assert.deepEqual(wrong, [true, true, true, true, true, false, false], 'who stole the cookie is limited too');
  });

  it('from one address are not enough to hold an account', async () => {
    for (let minute = 0; minute < 4; minute++) {
      for (let n = 0; n < 8; n++) await guess('held@example.com', '192.0.2.50');
      moveClock(61);
    }
    assert.equal(await guess('held@example.com', '192.0.2.50'), false);
    assert.ok(await logIn('held@example.com', { address: '192.0.2.51' }));
  });

  it('beyond the limit of their address count for no account (FIELD-B8)', async () => {
    const address = '192.0.2.60';
    const accounts = Array.from({ length: 70 }, (_, index) => `somebody-${index}@example.com`);
    const admitted = [];
    for (const account of accounts) admitted.push(await guess(account, address));
    assert.equal(admitted.filter(Boolean).length, 60);
    const counted = async (): Promise<string> =>
      JSON.stringify(await database.selectFrom('attempt_counters').selectAll().orderBy('key').execute());
    const before_ = await counted();
    for (let n = 0; n < 35; n++) assert.equal(await guess('untouched@example.com', address), false);
    assert.equal(await counted(), before_);
    assert.ok(await logIn('untouched@example.com', { address: '192.0.2.61' }));
  });

  it('of strangers do not refuse people who have logged in from the same address before (FIELD-B9)', async () => {
    const address = '192.0.2.70';
    assert.ok(await logIn('colleague@example.com', { address }));
    for (let n = 0; n < 60; n++) await guess(`nobody-${n}@example.com`, address);
    assert.equal(await guess('newcomer@example.com', address), false);
    assert.ok(await logIn('colleague@example.com', { address }));
  });

  it('that are right wait for one another and are all let in, on two nodes (FIELD-B10)', async () => {
    const slow = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 20));
    const all = await Promise.all(
      Array.from({ length: 40 }, (_, index) =>
        attempt('crowd@example.com', { address: '192.0.2.80' }, true, nodes[index % 2 === 0 ? 0 : 1], slow),
      ),
    );
    assert.deepEqual(new Set(all.map(({ admitted }) => admitted)), new Set([true]));
  });

  it('that are wrong are made no oftener at once than one after the other, on two nodes (FIELD-B10)', async () => {
    let made = 0;
    const all = await Promise.all(
      Array.from({ length: 100 }, (_, index) =>
        attempt('target@example.com', { address: '192.0.2.90' }, false, nodes[index % 2 === 0 ? 0 : 1], () => {
          made++;
          return Promise.resolve();
        }),
      ),
    );
    assert.equal(made, 5);
    assert.equal(all.filter(({ admitted }) => admitted).length, 5);
  });

  it('wait in a line with an end, behind few of strangers at one address (FIELD-B10)', async () => {
    const { promise: released, resolve: release } = Promise.withResolvers<void>();
    let underWay = 0;
    const check = (): Promise<void> => {
      underWay++;
      return released;
    };
    const place = { address: '192.0.2.95' };
    const crowd = Array.from({ length: 115 }, (_, index) =>
      attempt(`pupil-${index}@example.com`, place, true, nodes[0], check),
    );
    const first = await Promise.race(crowd);
    assert.deepEqual(first, { admitted: false, retryAfterSeconds: 2 }, 'not all of them can wait, and none can begin');
    assert.equal(underWay, 10);
    const elsewhere = await attempt('pupil-1@example.com', { address: '192.0.2.96' }, true);
    assert.equal(elsewhere.admitted, true, 'which holds nobody up elsewhere');
    release();
    const admitted = (await Promise.all(crowd)).filter((one) => one.admitted).length;
    // on a slow machine not all who wait are let in before their time is over
    assert.ok(admitted > 10 && admitted < crowd.length, `${admitted}`);
  });

  it('that are refused are told how long to wait, and that is true (FIELD-B10)', async () => {
    const place = { address: '192.0.2.100' };
    await guess('waits@example.com', place.address);
    moveClock(20);
    for (let n = 0; n < 4; n++) await guess('waits@example.com', place.address);
    const refused = await attempt('waits@example.com', place, true);
    assert.ok(!refused.admitted);
    assert.ok(refused.retryAfterSeconds > 30 && refused.retryAfterSeconds <= 40, `${refused.retryAfterSeconds}`);
    moveClock(refused.retryAfterSeconds - 2);
    assert.equal((await attempt('waits@example.com', place, true)).admitted, false);
    moveClock(2);
    assert.equal((await attempt('waits@example.com', place, true)).admitted, true);
  });

  it('count as wrong when the node that made them has ended before the answer', async () => {
    const never = new Promise(() => {});
    for (let n = 0; n < 5; n++)
      void attempt('lost@example.com', { address: '192.0.2.110' }, true, nodes[1], () => never);
    const reserved = async (): Promise<boolean> =>
      (await database.selectFrom('attempt_counters').select('key').where('under_way', '=', 5).execute()).length > 0;
    while (!(await reserved()));
    moveClock(31);
    assert.equal(await guess('lost@example.com', '192.0.2.110'), false);
    moveClock(61);
    assert.equal(await guess('lost@example.com', '192.0.2.110'), true);
  });

  it('that could not be looked at do not count', async () => {
    const broken = (): Promise<never> => Promise.reject(new Error('too busy'));
    for (let n = 0; n < 12; n++) {
      await assert.rejects(
        attempt('busy@example.com', { address: '192.0.2.120' }, false, nodes[0], broken),
        /too busy/,
      );
    }
    assert.ok(await logIn('busy@example.com', { address: '192.0.2.120' }));
  });

  it('are counted alike for an account in capitals or with spaces', async () => {
    for (let n = 0; n < 5; n++) await guess('someone@example.com', '192.0.2.1');
    assert.equal(await guess(' SomeOne@Example.com ', '192.0.2.1'), false);
  });

  it('are remembered for 90 days after the last login, from the latest 20 places', async () => {
    const email = 'traveller@example.com';
    const known = async (): Promise<number> =>
      (await database.selectFrom('known_logins').select('place').execute()).length;
    await database.deleteFrom('known_logins').execute();
    for (let index = 0; index < 25; index++) await logIn(email, { address: `198.18.0.${index}`, browser: BROWSER });
    assert.equal(await known(), 20);
    await removeExpiredRows(database, addSeconds(new Date(), 89 * 86_400));
    assert.equal(await known(), 20);
    await removeExpiredRows(database, addSeconds(new Date(), 91 * 86_400));
    assert.equal(await known(), 0);
    const left = await database.selectFrom('attempt_counters').select('key').execute();
    assert.equal(left.length, 0);
  });

  it('leave no address and no account in the database', async () => {
    await logIn('someone@example.com', { address: '203.0.113.9', browser: BROWSER });
    await guess('someone@example.com', '203.0.113.10');
    for (const table of ['attempt_counters', 'known_logins'] as const) {
      const rows = await database.selectFrom(table).selectAll().execute();
      assert.ok(rows.length > 0);
      const digests = rows.flatMap((row) => Object.values<unknown>(row).filter((value) => Buffer.isBuffer(value)));
      assert.doesNotMatch(Buffer.concat(digests).toString('latin1'), /example|203\.0|bbbb/);
    }
  });
});
