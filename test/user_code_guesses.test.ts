import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { moveClock, resetClock } from './support/clock.ts';
import { CONNECTED, fieldsOf, registerDevice, requestDevice, UNKNOWN_CODE } from './support/device_flow.ts';
import { startGatehouse, type Gatehouse } from './support/gatehouse.ts';
import { Person } from './support/person.ts';

describe('guessing user codes', () => {
  let gatehouse: Gatehouse;
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
    for (let i = 0; i < 200; i++) statuses.push((await guess(person, 'BCDF-GHJK')).status);
    assert.equal(statuses.filter((status) => status === 400).length, 10);
    assert.equal(statuses.filter((status) => status === 429).length, 190);
    const refused = await guess(person, user_code);
    assert.equal(refused.status, 429);
    assert.match(refused.retryAfter!, /^[1-9]\d{0,2}$/);
    assert.match(refused.page, /There were too many tries with codes\. Wait \d+ minutes?, then try again\./);

    const events = await gatehouse.database
      .selectFrom('audit_events')
      .select('event')
      .where('event', 'in', ['device.guessed', 'device.throttled'])
      .execute();
    assert.equal(events.filter(({ event }) => event === 'device.guessed').length, 10);
    assert.equal(events.filter(({ event }) => event === 'device.throttled').length, 191);

    moveClock(601);
    const { user_code: fresh } = await requestDevice(gatehouse, tv);
    assert.equal((await guess(person, fresh)).status, 200);
  });

  it('from one address is stopped whatever its cookies, and on the other node too', async (t) => {
    const environment = { GATEHOUSE_TRUSTED_PROXIES: '127.0.0.1' };
    const other = await startGatehouse({ beside: gatehouse, environment });
    t.after(() => other.stop());
    const address = '203.0.113.2';
    const statuses: number[] = [];
    for (let i = 0; i < 60; i++) {
      const node = i % 2 === 0 ? gatehouse : other;
      statuses.push((await guess(new Person(gatehouse), 'BCDF-GHJK', { node, address })).status);
    }
    assert.deepEqual(new Set(statuses.slice(0, 50)), new Set([400]));
    assert.deepEqual(new Set(statuses.slice(50)), new Set([429]));
    assert.equal((await guess(new Person(gatehouse), 'BCDF-GHJK', { address: '203.0.113.3' })).status, 400);
  });

  it('at once is counted before anything is looked up', async () => {
    const person = new Person(gatehouse);
    const address = '203.0.113.4';
    const page = await (await person.fetch(`${gatehouse.url}/device`)).text();
    const headers = { 'x-forwarded-for': address };
    const cookie = [...person.cookies].map(([name, { value }]) => `${name}=${value}`).join('; ');
    const body = new URLSearchParams({ ...fieldsOf(page), user_code: 'BCDF-GHJK' });
    const answers = await Promise.all(
      Array.from({ length: 30 }, () =>
        fetch(`${gatehouse.url}/device`, { method: 'POST', headers: { ...headers, cookie }, body }),
      ),
    );
    const pages = await Promise.all(answers.map((answer) => answer.text()));
    assert.equal(pages.filter((text) => UNKNOWN_CODE.test(text)).length <= 10, true);
    assert.equal(pages.filter((text) => CONNECTED.test(text)).length, 0);
  });

  it('by everybody together is stopped, and runs out by itself', async () => {
    const expire = Date.now() + 60_000;
    await gatehouse.database
      .updateTable('failed_attempts')
      .set({ points: 1_000, expire })
      .where('key', 'like', 'user_code_all:%')
      .execute();
    assert.equal((await guess(new Person(gatehouse), 'BCDF-GHJK', { address: '203.0.113.5' })).status, 429);
    moveClock(61);
    assert.equal((await guess(new Person(gatehouse), 'BCDF-GHJK', { address: '203.0.113.5' })).status, 400);
  });

  it('is not what a household does with many devices', async () => {
    const tv = await registerDevice(gatehouse);
    const person = new Person(gatehouse);
    for (let i = 0; i < 15; i++) {
      const { user_code } = await requestDevice(gatehouse, tv);
      assert.equal((await guess(person, user_code, { address: '203.0.113.6' })).status, 200);
    }
  });
});
