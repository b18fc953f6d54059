import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, it } from 'node:test';
import { Admin } from '../support/client/admin.ts';
import { authorizationRequest } from '../support/client/authorization_request.ts';
import { redeem, registerApplication, requestCode } from '../support/client/code_flow.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import type { RegisteredClient } from '../support/node/operator.ts';
import { Person } from '../support/person/person.ts';

/** RFC 7636, appendix B. */
const VERIFIER = 'dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk';
const CHALLENGE = 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM';

describe('a session', () => {
  let gatehouse: Gatehouse;
  let admin: Admin;
  let one: RegisteredClient;
  let other: RegisteredClient;
  let third: RegisteredClient;
  let password: string;
  let accountId: string;
  let account: { readonly email: string; readonly password: string };
  let accounts = 0;
  before(async () => {
    gatehouse = await startGatehouse();
    admin = await Admin.of(gatehouse);
    one = await registerApplication(gatehouse);
    other = await registerApplication(gatehouse);
    third = await registerApplication(gatehouse);
  });
  after(() => gatehouse.stop());
  beforeEach(async () => {
    password = 'correct horse battery staple';
    account = { email: `person${++accounts}@example.com`, password };
    accountId = (await admin.post('/accounts', account)).body.account_id;
  });

  const authorizationUrl = (client: RegisteredClient, prompt: Readonly<Record<string, string>> = {}): string =>
    `${gatehouse.issuer}/authorize?${authorizationRequest(client, { code_challenge: CHALLENGE, ...prompt })}`;
  const tabOf = (person: Person): Person => {
    const tab = new Person(gatehouse, { account });
    for (const [name, cookie] of person.cookies) tab.cookies.set(name, cookie);
    return tab;
  };
  const parameterOf = (response: Response, name: string): string | null =>
    new URL(response.headers.get('location') ?? '', gatehouse.url).searchParams.get(name);
  const loginForm = (page: string): string => /action="([^"]*\/login)"/.exec(page)?.[1] ?? '';

  it('breaks for none of many tabs that come back from their pages at once', async () => {
    for (let round = 0; round < 3; round++) {
      const person = new Person(gatehouse, { account });
      await requestCode(gatehouse, one, { person });
      const ways: { tab: Person; back: string }[] = [];
      for (const client of [one, other, one]) {
        const tab = tabOf(person);
        const { page } = await tab.open(authorizationUrl(client, { prompt: 'consent' }));
        const action = /action="([^"]*\/consent)"/.exec(page)?.[1] ?? '';
        const body = new URLSearchParams({ decision: 'allow' });
        const response = await tab.fetch(new URL(action, gatehouse.url), { method: 'POST', body });
        ways.push({ tab, back: new URL(response.headers.get('location') ?? '', gatehouse.url).href });
      }
      const answers = await Promise.all(ways.map(({ tab, back }) => tab.fetch(back)));
      // a tab whose request comes when another one has moved the session on is asked to begin again
      const statuses = answers.map(({ status }) => status);
      assert.ok(statuses.includes(303), String(statuses));
      assert.ok(
        statuses.every((status) => status === 303 || status === 400),
        String(statuses),
      );
    }
  });

  it('keeps what each of two applications has been given at the same moment', async () => {
    const decided = new Person(gatehouse, { account, remember: true });
    for (const client of [one, other, third]) await decided.authorize(authorizationUrl(client));
    for (let round = 0; round < 5; round++) {
      const person = new Person(gatehouse, { account });
      await person.authorize(authorizationUrl(third));
      const answers = await Promise.all(
        [one, other].map((client) => tabOf(person).fetch(authorizationUrl(client, { prompt: 'none' }))),
      );
      for (const [index, client] of [one, other].entries()) {
        const code = parameterOf(answers[index]!, 'code') ?? '';
        assert.equal((await redeem(gatehouse.url, client, { code, verifier: VERIFIER })).status, 200);
      }
    }
  });

  it('is one person’s at a time, when two log in at the same moment in one browser', async () => {
    const rival = { email: `rival${accounts}@example.com`, password };
    await admin.post('/accounts', rival);
    for (let round = 0; round < 3; round++) {
      const person = new Person(gatehouse, { account });
      // a session without a login, as a logout page leaves it
      await person.open(`${gatehouse.issuer}/logout`);
      const backs: { tab: Person; back: string }[] = [];
      for (const who of [account, rival]) {
        const tab = tabOf(person);
        const { page } = await tab.open(authorizationUrl(one));
        const body = new URLSearchParams(who);
        const response = await tab.fetch(new URL(loginForm(page), gatehouse.url), { method: 'POST', body });
        backs.push({ tab, back: response.headers.get('location') ?? '' });
      }
      const answers = await Promise.all(backs.map(({ tab, back }) => tab.fetch(back)));
      for (const { status } of answers) assert.ok(status < 500, String(status));
      for (const { tab } of backs) assert.ok((await tab.fetch(authorizationUrl(one))).status < 500);
    }
  });

  it('that ends while its browser is busy stays ended, and the change that ends it is not held up', async () => {
    const person = new Person(gatehouse, { account });
    await person.authorize(authorizationUrl(one));
    const over = new AbortController();
    const busy = async (): Promise<void> => {
      while (!over.signal.aborted) await tabOf(person).fetch(authorizationUrl(one, { prompt: 'none' }));
    };
    const tabs = [busy(), busy(), busy(), busy()];
    const changed = await admin.patch(`/accounts/${accountId}`, { password: 'another horse, another battery' });
    over.abort();
    await Promise.all(tabs);
    assert.equal(changed.status, 200);
    assert.deepEqual((await admin.get(`/accounts/${accountId}/sessions`)).body.items, []);
    const later = await tabOf(person).fetch(authorizationUrl(one, { prompt: 'none' }));
    assert.equal(parameterOf(later, 'error'), 'login_required');
  });

  it('is not opened by a login that was left standing while the password was changed', async () => {
    const thief = new Person(gatehouse, { account });
    const { page } = await thief.open(authorizationUrl(one));
    const response = await thief.fetch(new URL(loginForm(page), gatehouse.url), {
      method: 'POST',
      body: new URLSearchParams(account),
    });
    assert.equal(response.status, 303);
    assert.equal(
      (await admin.patch(`/accounts/${accountId}`, { password: 'another horse, another battery' })).status,
      200,
    );
    const resumed = await thief.open(new URL(response.headers.get('location') ?? '', gatehouse.url));
    assert.equal(resumed.response.status, 400);
    assert.match(resumed.page, /has expired or was started in another browser/);
    assert.deepEqual((await admin.get(`/accounts/${accountId}/sessions`)).body.items, []);
  });
});
