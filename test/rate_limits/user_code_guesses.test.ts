import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { after, afterEach, before, describe, it } from 'node:test';
import { sql } from 'kysely';
import type pg from 'pg';
import type { Digest } from '../../src/base/secret.ts';
import { createDatabase } from '../../src/db/connection.ts';
import { UserCodeGuesses } from '../../src/limits/user_code_guesses.ts';
import { moveClock, resetClock } from '../support/node/clock.ts';
import { cloneDatabase, type TestDatabase, patientPool } from '../support/node/database.ts';
import { CONNECTED, fieldsOf, registerDevice, requestDevice, UNKNOWN_CODE } from '../support/person/device_flow.ts';
import { startGatehouse, type OwnGatehouse } from '../support/node/gatehouse.ts';
import { Person } from '../support/person/person.ts';

describe('guessing user codes', () => {
  let gatehouse: OwnGatehouse;
  before(async () => {
    gatehouse = await startGatehouse({ environment: { GATEHOUSE_TRUSTED_PROXIES: '127.0.0.1' } });
  });
  after(() => gatehouse.stop());
  afterEach(resetClock);

  /** One try in a session: the status, and what the answer says about waiting. */
  async function guess(
    person: Person,
    user_code: string,
    { node = gatehouse, address = '203.0.113.1' } = {},
  ): Promise<{ status: number; retryAfter: string | null; page: string }> {
    const headers = { 'x-forwarded-for': address };
    const page = await (await person.fetch(`${node.url}/device`, { headers })).text();
    const body = new URLSearchParams({ ...fieldsOf(page), user_code });
    const answer = await person.fetch(`${node.url}/device`, { method: 'POST', headers, body });
    return { status: answer.status, retryAfter: answer.headers.get('retry-after'), page: await answer.text() };
  }

  it('from one session is stopped long before 200 tries, even with the right code, until the time is over (DEV-05)', async () => {
    const tv = await registerDevice(gatehouse);
    const { user_code } = await requestDevice(gatehouse, tv);
    const person = new Person(gatehouse);
    const statuses: number[] = [];
    for (let i = 0; i < 200; i++) statuses.push((await guess(person, 'BCDFG-HJKLM')).status);
    assert.equal(statuses.filter((status) => status === 400).length, 10);
    assert.equal(statuses.filter((status) => status === 429).length, 190);
    const refused = await guess(person, user_code);
    assert.equal(refused.status, 429);
    assert.match(refused.retryAfter!, /^[1-9]\d{0,2}$/);
    assert.match(refused.page, /There were too many tries with codes\. Wait \d+ minutes?, then try again\./);

    moveClock(601);
    const { user_code: fresh } = await requestDevice(gatehouse, tv);
    assert.equal((await guess(person, fresh)).status, 303);

    // what repeats itself is counted, and the count is on record when its hour is over
    moveClock(3_600);
    await gatehouse.runJobs();
    const events = await gatehouse.database
      .selectFrom('audit_events')
      .select(['event', sql<number>`coalesce((details->'repeated'->>'count')::int, 1)`.as('times')])
      .where('event', 'in', ['device.guessed', 'device.throttled'])
      .execute();
    const sum = (of: string) => events.reduce((all, { event, times }) => all + (event === of ? times : 0), 0);
    assert.equal(sum('device.guessed'), 10);
    assert.equal(sum('device.throttled'), 191);
  });

  it('from one address is stopped with any cookies, and on the other node too', async (t) => {
    const environment = { GATEHOUSE_TRUSTED_PROXIES: '127.0.0.1' };
    const other = await startGatehouse({ beside: gatehouse, environment });
    t.after(() => other.stop());
    const address = '203.0.113.2';
    const statuses: number[] = [];
    for (let i = 0; i < 25; i++) {
      const node = i % 2 === 0 ? gatehouse : other;
      statuses.push((await guess(new Person(gatehouse), 'BCDFG-HJKLM', { node, address })).status);
    }
    assert.deepEqual(new Set(statuses.slice(0, 20)), new Set([400]));
    assert.deepEqual(new Set(statuses.slice(20)), new Set([429]));
    assert.equal((await guess(new Person(gatehouse), 'BCDFG-HJKLM', { address: '203.0.113.3' })).status, 400);
  });

  it('at once is counted before anything is looked up', async () => {
    const person = new Person(gatehouse);
    const address = '203.0.113.4';
    const page = await (await person.fetch(`${gatehouse.url}/device`)).text();
    const headers = { 'x-forwarded-for': address };
    const cookie = [...person.cookies].map(([name, { value }]) => `${name}=${value}`).join('; ');
    const body = new URLSearchParams({ ...fieldsOf(page), user_code: 'BCDFG-HJKLM' });
    const answers = await Promise.all(
      Array.from({ length: 30 }, () =>
        fetch(`${gatehouse.url}/device`, { method: 'POST', headers: { ...headers, cookie }, body }),
      ),
    );
    const pages = await Promise.all(answers.map((answer) => answer.text()));
    assert.equal(pages.filter((text) => UNKNOWN_CODE.test(text)).length <= 10, true);
    assert.equal(pages.filter((text) => CONNECTED.test(text)).length, 0);
  });

  it('is not what a household does with many devices', async () => {
    const tv = await registerDevice(gatehouse);
    const person = new Person(gatehouse);
    for (let i = 0; i < 15; i++) {
      const { user_code } = await requestDevice(gatehouse, tv);
      assert.equal((await guess(person, user_code, { address: '203.0.113.6' })).status, 303);
    }
  });
});

describe('a thousand guesses at user codes', () => {
  let clone: TestDatabase;
  let pool: pg.Pool;
  let guesses: UserCodeGuesses;
  before(async () => {
    clone = await cloneDatabase();
    pool = patientPool(clone.url, 10);
    const digest = (text: string): Digest => createHmac('sha256', 'a key').update(text).digest() as Digest;
    guesses = new UserCodeGuesses({ database: createDatabase(pool), digest, clock: () => new Date() });
  });
  after(async () => {
    await pool.end();
    await clone.drop();
  });

  it('from many networks refuse no person’s right code (FIELD-B11)', async () => {
    const networks = Array.from({ length: 110 }, (_, index) => `2001:db8:0:${index}::1`);
    let looked = 0;
    const guessTenTimes = async (address: string): Promise<void> => {
      for (let n = 0; n < 10; n++) {
        await guesses.attempt({ session: address, accountId: undefined, address }, () => {
          looked++;
          return Promise.resolve(undefined);
        });
      }
    };
    await Promise.all(networks.map(guessTenTimes));
    assert.equal(looked, 1_100);
    const person = { session: 'another', accountId: undefined, address: '2001:db8:1::1' };
    assert.deepEqual(await guesses.attempt(person, () => Promise.resolve('found')), {
      admitted: true,
      result: 'found',
    });
  });

  it('would find a given code with a probability below one in a million, and 1,000 waiting ones once in 30 days', () => {
    const codes = 20 ** 10;
    // 20 wrong guesses for each of 100,000 networks in the ten minutes that a code lives
    const inOneLife = 20 * 100_000;
    assert.ok(inOneLife / codes < 1e-6);
    assert.ok((codes / (inOneLife * 1_000)) * 600 > 30 * 86_400);
  });
});
