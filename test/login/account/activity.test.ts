import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { Admin } from '../../support/client/admin.ts';
import { registerApplication, requestCode } from '../../support/client/code_flow.ts';
import { moveClock, resetClock } from '../../support/node/clock.ts';
import { startGatehouse, type Gatehouse } from '../../support/node/gatehouse.ts';
import type { RegisteredClient } from '../../support/node/operator.ts';
import { LoginForm } from '../../support/person/login_form.ts';
import { Person } from '../../support/person/person.ts';

describe('the activity of an account', () => {
  let gatehouse: Gatehouse;
  let admin: Admin;
  let client: RegisteredClient;
  before(async () => {
    gatehouse = await startGatehouse({ environment: { GATEHOUSE_TRUSTED_PROXIES: '127.0.0.1' } });
    admin = await Admin.of(gatehouse);
    client = await registerApplication(gatehouse, { client_name: 'Notes' });
  });
  after(() => gatehouse.stop());
  afterEach(resetClock);

  async function newPerson(email: string) {
    const account = { email, password: 'a password of a person' };
    const { body } = await admin.post('/accounts', account);
    return { account, accountId: body.account_id, person: new Person(gatehouse, { account }) };
  }

  async function activityOf(person: Person, query = ''): Promise<{ text: string; page: string; status: number }> {
    const { page, response } = await person.open(`${gatehouse.issuer}/account/activity${query}`);
    return { page, text: page.replaceAll(/<[^>]*>|\s+/g, ' ').replaceAll(/ +/g, ' '), status: response.status };
  }

  it('is told in plain words, with time and address, and says what an admin did', async () => {
    const { account, accountId, person } = await newPerson('told@example.com');
    await (await LoginForm.open(gatehouse, '203.0.113.7')).post(gatehouse, { ...account, password: 'a guess' });
    await requestCode(gatehouse, client, { person });
    await admin.patch(`/accounts/${accountId}`, { name: 'Told' });
    const { text } = await activityOf(person);
    assert.match(
      text,
      /Your account was changed \d\d:\d\d UTC · by an administrator Notes got access .* You allowed Notes what it asked for .* You logged in .* Somebody tried to log in with a wrong password \d\d:\d\d UTC · 203\.0\.113\.7 Your account was made/,
    );
    assert.doesNotMatch(text, /login\.succeeded|token\.issued/);
  });

  it('is that of this person alone, and of the last 90 days', async () => {
    const { person } = await newPerson('alone@example.com');
    const { person: other } = await newPerson('another@example.com');
    await requestCode(gatehouse, client, { person: other });
    await person.walk(`${gatehouse.issuer}/account/login`);
    const { text } = await activityOf(person);
    assert.equal(/Notes/.test(text), false);
    assert.match(text, /You logged in .* Your account was made/);
    moveClock(90 * 86_400 + 60);
    await person.walk(`${gatehouse.issuer}/account/login`);
    const later = await activityOf(person);
    assert.match(later.text, /You logged in/);
    assert.doesNotMatch(later.text, /Your account was made/);
  });

  it('has pages, each event on one of them, and takes no other position than its own', async () => {
    const { person } = await newPerson('paged@example.com');
    for (let count = 0; count < 30; count++) await requestCode(gatehouse, client, { person });
    await person.walk(`${gatehouse.issuer}/account/login`);
    const seen: number[] = [];
    let query = '';
    for (let pages = 0; pages < 5; pages++) {
      const { page } = await activityOf(person, query);
      seen.push(page.match(/<li class="row">/g)?.length ?? 0);
      const [, next] = /class="button older" href="[^"]*(\?after=[^"]*)"/.exec(page) ?? [];
      if (next === undefined) break;
      query = next.replaceAll('&amp;', '&');
    }
    const { database } = gatehouse;
    const all = await database
      .selectFrom('audit_events')
      .innerJoin('accounts', 'accounts.account_id', 'audit_events.account_id')
      .select('event')
      .where('email', '=', 'paged@example.com')
      .where('event', '<>', 'token.issued')
      .execute();
    assert.equal(
      seen.reduce((sum, count) => sum + count, 0),
      all.length,
    );
    assert.ok(seen.length > 1, 'more than one page');
    const stream = '01234567-89ab-7def-8123-456789abcdef';
    const positions = [
      '2026-01-01T00:00:00.000000Z~a~1',
      `0000-01-01T00:00:00.000000Z~${stream}~1`,
      `9999-12-31T23:59:59.999999Z~${stream}~${Number.MAX_SAFE_INTEGER}`,
    ];
    for (const hostile of [
      ...positions,
      'x',
      '~~',
      `2026-01-01T00:00:00.000000Z~a~-1`,
      '%00',
      'a'.repeat(5_000),
      `1~2~3&after=4`,
    ]) {
      assert.equal((await activityOf(person, `?after=${hostile}`)).status, 200, hostile);
    }
  });
});
