import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Admin } from '../support/client/admin.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { newAccount, personWithApp, reachSecondStep } from '../support/person/authenticator.ts';
import { LoginForm } from '../support/person/login_form.ts';
import { Person } from '../support/person/person.ts';

describe('the factors of an account, for an admin', () => {
  let gatehouse: Gatehouse;
  let admin: Admin;
  before(async () => {
    gatehouse = await startGatehouse({ environment: { GATEHOUSE_TRUSTED_PROXIES: '127.0.0.1' } });
    admin = await Admin.of(gatehouse);
  });
  after(() => gatehouse.stop());

  const eventsOf = async (accountId: string): Promise<string[]> => {
    const rows = await gatehouse.database
      .selectFrom('audit_events')
      .select('event')
      .where('account_id', '=', accountId)
      .where('actor_type', '=', 'client')
      .orderBy('occurred_at')
      .execute();
    return rows.map(({ event }) => event);
  };

  it('are listed without a secret', async () => {
    const { account, authenticator } = await personWithApp(gatehouse);
    await admin.post(`/accounts/${account.accountId}/enrolment-code`);
    const { status, body, text } = await admin.get(`/accounts/${account.accountId}/factors`);
    assert.equal(status, 200);
    assert.deepEqual(
      body.items.map(({ factor_id, type, codes_left }) => [factor_id, type, codes_left]),
      [
        ['totp', 'totp', null],
        ['recovery_codes', 'recovery_codes', 1],
      ],
    );
    assert.equal(text.includes(authenticator.secret), false);
    assert.equal((await admin.get('/accounts/account_x/factors')).status, 404);
  });

  it('are reset one by one, or all at once, which ends the sessions and is recorded', async () => {
    const { account, person } = await personWithApp(gatehouse);
    const path = `/accounts/${account.accountId}/factors`;
    await person.walk(`${gatehouse.issuer}/account/login`);
    assert.match((await person.open(`${gatehouse.issuer}/account`)).page, /<h1>Profile</);
    assert.equal((await admin.delete(`${path}/passkey_none`)).status, 404);
    assert.equal((await admin.delete(`${path}/totp`)).status, 204);
    assert.equal((await admin.delete(`${path}/totp`)).status, 404);
    assert.match((await person.open(`${gatehouse.issuer}/account`)).page, /You are not logged in/);
    await admin.post(`/accounts/${account.accountId}/enrolment-code`);
    assert.equal((await admin.delete(path)).status, 204);
    assert.deepEqual((await admin.get(path)).body.items, []);
    assert.deepEqual(await eventsOf(account.accountId), [
      'account.created',
      'factor.removed',
      'session.ended',
      'session.ended',
      'recovery_code.issued',
      'factor.removed',
    ]);
    const next = new Person(gatehouse, { account });
    assert.match((await next.walk(`${gatehouse.issuer}/account/login`)).page, /Your account/);
  });

  it('need the scopes of accounts', async () => {
    const { accountId } = await newAccount(gatehouse);
    const reader = await admin.lesser('accounts:read');
    assert.equal((await reader.get(`/accounts/${accountId}/factors`)).status, 200);
    for (const path of [`/accounts/${accountId}/factors`, `/accounts/${accountId}/factors/totp`])
      assert.equal((await reader.delete(path)).status, 403);
    for (const path of ['enrolment-code', 'unlock'])
      assert.equal((await reader.post(`/accounts/${accountId}/${path}`)).status, 403);
    assert.equal((await (await admin.lesser('accounts:write')).get(`/accounts/${accountId}/factors`)).status, 403);
  });

  it('give an enrolment code that replaces an earlier one, works once and expires', async () => {
    const { account } = await personWithApp(gatehouse);
    const path = `/accounts/${account.accountId}/enrolment-code`;
    const first = String((await admin.post(path)).body['code']);
    const { body } = await admin.post(path);
    const days = (Date.parse(String(body['expires_at'])) - Date.now()) / 86_400_000;
    assert.ok(days > 6.9 && days < 7.1, String(days));
    const person = new Person(gatehouse, { account });
    const { action } = await reachSecondStep(gatehouse, person);
    assert.equal((await person.submit(action, { recovery_code: first })).response.status, 401);
    assert.match((await person.submit(action, { recovery_code: String(body['code']) })).page, /Your account/);
    const stored = await gatehouse.database.selectFrom('audit_events').select('details').execute();
    assert.equal(JSON.stringify(stored).includes(String(body['code'])), false);
  });

  it('and its unlocking end the wait after too many wrong logins', async () => {
    const account = await newAccount(gatehouse);
    const form = await LoginForm.open(gatehouse, '203.0.113.77');
    const wrong = { ...account, password: 'not the password at all' };
    for (let guess = 0; guess < 5; guess++) assert.equal((await form.post(gatehouse, wrong)).status, 401);
    assert.equal((await form.post(gatehouse, account)).status, 429);
    assert.equal((await admin.post(`/accounts/${account.accountId}/unlock`)).status, 204);
    assert.equal((await form.post(gatehouse, account)).status, 303);
    assert.ok((await eventsOf(account.accountId)).includes('account.unlocked'));
    assert.equal((await admin.post('/accounts/account_x/unlock')).status, 404);
  });
});
