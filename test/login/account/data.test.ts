import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { Admin } from '../../support/client/admin.ts';
import { registerApplication, signIn } from '../../support/client/code_flow.ts';
import { moveClock, resetClock } from '../../support/node/clock.ts';
import { startGatehouse, type Gatehouse } from '../../support/node/gatehouse.ts';
import type { RegisteredClient } from '../../support/node/operator.ts';
import { fieldsOf } from '../../support/person/device_flow.ts';
import { Person } from '../../support/person/person.ts';

describe('a person’s data', () => {
  let gatehouse: Gatehouse;
  let admin: Admin;
  let client: RegisteredClient;
  let made = 0;
  before(async () => {
    gatehouse = await startGatehouse();
    admin = await Admin.of(gatehouse);
    client = await registerApplication(gatehouse, { grant_types: ['authorization_code', 'refresh_token'] });
  });
  after(() => gatehouse.stop());
  afterEach(resetClock);

  /** Somebody with an account of their own, who has logged in to an application. */
  async function newPerson() {
    const account = { email: `person-${(made += 1)}@example.com`, password: 'a password of a person' };
    const { body } = await admin.post('/accounts', { ...account, name: 'Ada Lovelace', locale: 'en-GB' });
    const person = new Person(gatehouse, { account });
    const scope = 'openid email offline_access';
    const { tokens } = await signIn(gatehouse, client, { person, scope, parameters: { prompt: 'consent' } });
    return { account, accountId: body.account_id, person, tokens };
  }

  const at = (action = ''): string => `${gatehouse.issuer}/account/data${action}`;

  async function tokenFor(person: Person): Promise<string> {
    return fieldsOf((await person.open(at())).page)['form_token'] ?? assert.fail('The page has no form.');
  }

  async function events(accountId: string, event: string): Promise<number> {
    const rows = await gatehouse.database
      .selectFrom('audit_events')
      .select('sequence')
      .where('account_id', '=', accountId)
      .where('event', '=', event)
      .execute();
    return rows.length;
  }

  it('is downloaded as a file, without secrets, and the trail says so', async () => {
    const { account, accountId, person, tokens } = await newPerson();
    const form = new URLSearchParams({ form_token: await tokenFor(person) });
    const response = await person.fetch(at('/download'), { method: 'POST', body: form });
    assert.equal(response.status, 200);
    assert.match(response.headers.get('content-disposition') ?? '', /^attachment; filename="account-[\d-]+\.json"$/);
    assert.equal(response.headers.get('cache-control'), 'no-store');
    const text = await response.text();
    const copy = JSON.parse(text) as Record<string, unknown>;
    assert.equal(
      Object.keys(copy).join(' '),
      'made_at issuer account factors remembered_devices links mails permissions devices activity',
    );
    const own = copy['account'] as Record<string, unknown>;
    assert.deepEqual([own['sub'], own['email'], own['locale']], [accountId, account.email, 'en-GB']);
    assert.equal((copy['devices'] as unknown[]).length, 1);
    const activity = copy['activity'] as { event: string; address: string | null }[];
    const addressOf = (name: string) => activity.find(({ event }) => event === name)?.address;
    assert.equal(addressOf('login.succeeded'), '127.0.0.1');
    assert.equal(addressOf('account.created'), null, 'it is the address of an admin');
    for (const secret of [
      'argon2',
      account.password,
      tokens.refresh_token!,
      tokens.access_token,
      form.get('form_token')!,
    ])
      assert.equal(text.includes(secret), false);
    for (const { value } of person.cookies.values()) assert.equal(text.includes(value), false);
    assert.equal(await events(accountId, 'account.data_downloaded'), 1);
  });

  it('names what an API may read about the person plainly, in permissions that last and in those that do not', async () => {
    const { account, accountId } = await newPerson();
    const person = new Person(gatehouse, { account, remember: true });
    await signIn(gatehouse, client, {
      person,
      scope: 'openid notes:read',
      parameters: { claims: JSON.stringify({ userinfo: { phone_number: null } }) },
    });
    const body = new URLSearchParams({ form_token: await tokenFor(person) });
    const response = await person.fetch(at('/download'), { method: 'POST', body });
    const { permissions } = (await response.json()) as {
      permissions: { remembered: boolean; scopes: { resources: object[] } }[];
    };
    const allowed = { resource: gatehouse.demo.resource, scopes: ['notes:read'], claims: ['phone_number'] };
    for (const remembered of [true, false]) {
      const ofApis = permissions.filter((one) => one.remembered === remembered).flatMap((one) => one.scopes.resources);
      assert.deepEqual(ofApis, [allowed], `remembered: ${remembered}`);
    }
    const { items } = (await admin.get(`/accounts/${accountId}/consents`)).body;
    assert.deepEqual(items[0]?.['resources'], [allowed]);
  });

  it('is given to no form of another page or person', async () => {
    const { accountId, person } = await newPerson();
    const { person: other } = await newPerson();
    for (const form_token of ['', 'guessed', await tokenFor(other)]) {
      const body = new URLSearchParams({ form_token });
      const response = await person.fetch(at('/download'), { method: 'POST', body });
      assert.equal(response.status, 403);
    }
    assert.equal(await events(accountId, 'account.data_downloaded'), 0);
  });

  it('ends with the account, which its owner deletes: sessions, tokens and login are gone at once', async () => {
    const { account, accountId, person, tokens } = await newPerson();
    const fields = {
      form_token: await tokenFor(person),
      decision: 'delete',
      email: ` ${account.email.toUpperCase()} `,
    };
    const { response, page } = await person.submit(at('/delete'), { ...fields, email: account.email.toUpperCase() });
    assert.equal(response.status, 200, page);
    assert.match(page, /Your account is deleted/);
    assert.equal((await admin.get(`/accounts/${accountId}`)).status, 404);
    assert.equal(await events(accountId, 'account.deleted'), 1);
    assert.match((await person.open(`${gatehouse.issuer}/account`)).page, /You are not logged in/);
    const userinfo = await fetch(`${gatehouse.issuer}/userinfo`, {
      headers: { authorization: `Bearer ${tokens.access_token}` },
    });
    assert.equal(userinfo.status, 401);
    await userinfo.body?.cancel();
    const again = await new Person(gatehouse, { account }).open(`${gatehouse.issuer}/account/login`);
    assert.match(again.page, /Log in/);
  });

  it('stays if the address is not typed, or another one', async () => {
    const { accountId, person } = await newPerson();
    for (const email of ['', 'other@example.com', 'person-1']) {
      const form_token = await tokenFor(person);
      const { response, page } = await person.submit(at('/delete'), { form_token, decision: 'delete', email });
      assert.equal(response.status, 400);
      assert.match(page, /That is not the e-mail address of this account\. Nothing was deleted\./);
    }
    assert.equal((await admin.get(`/accounts/${accountId}`)).status, 200);
  });

  it('stays if the login is older than five minutes, whatever form is sent, until the person confirms it', async () => {
    const { account, accountId, person } = await newPerson();
    moveClock(301);
    const { page: old } = await person.open(at());
    assert.match(old, /To delete your account, confirm first that it’s you\./);
    const form_token = fieldsOf(old)['form_token']!;
    const asked = await person.submit(at('/delete'), { form_token, decision: 'delete', email: account.email });
    assert.match(asked.page, /Confirm that it’s you/);
    assert.equal(await events(accountId, 'account.deleted'), 0);
    const back = await person.finish(asked);
    assert.equal(back.url, at());
    assert.match(back.page, /Type your e-mail address to confirm/);
    const fields = { form_token: fieldsOf(back.page)['form_token']!, decision: 'delete', email: account.email };
    assert.match((await person.submit(at('/delete'), fields)).page, /Your account is deleted/);
  });

  it('ends once: of two forms at the same moment one deletes, and none fails', async () => {
    const { account, accountId, person } = await newPerson();
    const body = (): URLSearchParams => new URLSearchParams({ form_token, decision: 'delete', email: account.email });
    const form_token = await tokenFor(person);
    const answers = await Promise.all([0, 1].map(() => person.fetch(at('/delete'), { method: 'POST', body: body() })));
    for (const answer of answers) {
      assert.ok(answer.status < 500, String(answer.status));
      await answer.body?.cancel();
    }
    assert.ok(answers.some(({ status }) => status === 200));
    assert.equal(await events(accountId, 'account.deleted'), 1);
  });
});
