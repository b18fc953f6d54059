import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { MFA_ACR, PASSWORD_ACR } from '../../src/base/acr_values.ts';
import { Admin } from '../support/client/admin.ts';
import { registerApplication, signIn } from '../support/client/code_flow.ts';
import { addTo, makeRole } from '../support/client/roles.ts';
import { moveClock, resetClock } from '../support/node/clock.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import type { RegisteredClient } from '../support/node/operator.ts';
import {
  hiddenField,
  personWithApp,
  reachSecondStep,
  type Authenticator,
  type TestAccount,
} from '../support/person/authenticator.ts';
import { Person } from '../support/person/person.ts';

const DAY_SECONDS = 86_400;

describe('a remembered device', () => {
  let gatehouse: Gatehouse;
  let client: RegisteredClient;
  before(async () => {
    gatehouse = await startGatehouse();
    client = await registerApplication(gatehouse);
  });
  after(() => gatehouse.stop());
  afterEach(resetClock);

  const login = () => `${gatehouse.issuer}/account/login`;

  /** A person who has asked on this device not to repeat the second step, and whose session has ended. */
  const onDevice = async () => {
    const { account, authenticator } = await personWithApp(gatehouse);
    const person = new Person(gatehouse, { account });
    const { action } = await reachSecondStep(gatehouse, person);
    const { page } = await person.submit(action, { code: authenticator.code(), remember_device: 'on' });
    assert.match(page, /Your account/);
    person.cookies.delete('gatehouse_session');
    return { account, authenticator, person };
  };
  /** The same device, with a person who can use the app if it is asked for. */
  const withCode = (from: Person, account: TestAccount, authenticator: Authenticator): Person => {
    const person = new Person(gatehouse, { account, code: () => authenticator.code(1) });
    for (const [name, cookie] of from.cookies) if (name !== 'gatehouse_session') person.cookies.set(name, cookie);
    return person;
  };
  const askedTwice = (person: Person): boolean => person.trace.some((line) => line.includes('/second-step'));

  it('skips the second step, and the login is no more than a password', async () => {
    const { person } = await onDevice();
    const { tokens } = await signIn(gatehouse, client, { person });
    assert.deepEqual([tokens.claims()!['amr'], tokens.claims()!['acr']], [['pwd'], PASSWORD_ACR]);
  });

  it('is of one account and one browser', async () => {
    const one = await onDevice();
    const two = await personWithApp(gatehouse);
    const other = withCode(one.person, two.account, two.authenticator);
    await other.walk(login());
    assert.ok(askedTwice(other));
    const elsewhere = new Person(gatehouse, { account: one.account, code: () => one.authenticator.code(1) });
    await elsewhere.walk(login());
    assert.ok(askedTwice(elsewhere));
  });

  for (const [what, parameters] of [
    ['asks for a stronger context', { acr_values: MFA_ACR }],
    ['sets max_age', { max_age: '3600' }],
  ] as const) {
    it(`does not help where the request ${what}`, async () => {
      const { account, authenticator, person } = await onDevice();
      const strong = withCode(person, account, authenticator);
      const { tokens } = await signIn(gatehouse, client, { person: strong, parameters });
      assert.equal(tokens.claims()!['acr'], MFA_ACR);
    });
  }

  it('does not help where the person must confirm who they are, nor for a change of factors', async () => {
    const { account, authenticator, person } = await onDevice();
    await signIn(gatehouse, client, { person });
    const confirming = new Person(gatehouse, { account, code: () => authenticator.code(1) });
    for (const [name, cookie] of person.cookies) confirming.cookies.set(name, cookie);
    await signIn(gatehouse, client, { person: confirming, parameters: { prompt: 'login' } });
    assert.ok(askedTwice(confirming));
    const changing = new Person(gatehouse, { account });
    for (const [name, cookie] of person.cookies) if (name !== 'gatehouse_session') changing.cookies.set(name, cookie);
    const { arrival } = await reachSecondStep(gatehouse, changing, `${gatehouse.issuer}/account/authenticator`);
    assert.match(arrival.page, /<h1>Second step<\/h1>/);
  });

  it('does not help a person who administers this server, and such a person can’t ask for it', async () => {
    const { account, authenticator, person } = await onDevice();
    const admin = await Admin.of(gatehouse);
    await addTo(admin, await makeRole(admin, gatehouse.admin.resource, 'keys:read'), account.accountId);
    const asked = withCode(person, account, authenticator);
    await asked.walk(login());
    assert.ok(askedTwice(asked));
    const elsewhere = new Person(gatehouse, { account });
    const { arrival, action } = await reachSecondStep(gatehouse, elsewhere);
    assert.equal(arrival.page.includes('remember_device'), false);
    moveClock(60);
    await elsewhere.submit(action, { code: authenticator.code(), remember_device: 'on' });
    assert.ok(elsewhere.cookies.has('gatehouse_session'));
    assert.equal(elsewhere.cookieHeaders.join().includes('gatehouse_device_'), false);
  });

  it('ends after 30 days', async () => {
    const { account, authenticator, person } = await onDevice();
    moveClock(30 * DAY_SECONDS + 60);
    const later = withCode(person, account, authenticator);
    await later.walk(login());
    assert.ok(askedTwice(later));
  });

  it('is listed with its name, and forgotten when its owner says so', async () => {
    const { account, authenticator, person } = await onDevice();
    const url = `${gatehouse.issuer}/account/remembered-devices`;
    await person.walk(login());
    const { page } = await person.open(url);
    assert.match(page, /<h2>An unknown device<\/h2>/);
    const form = { form_token: hiddenField(page, 'form_token'), device_id: hiddenField(page, 'device_id') };
    assert.equal((await person.submit(`${url}/forget`, { ...form, form_token: 'x' })).response.status, 403);
    assert.match((await person.submit(`${url}/forget`, form)).page, /asks for the second step again/);
    const next = withCode(person, account, authenticator);
    await next.walk(login());
    assert.ok(askedTwice(next));
  });

  it('is forgotten with a new password and with a changed factor', async () => {
    for (const change of [
      ({ accountId }: TestAccount) =>
        gatehouse.adminCall('PATCH', `/accounts/${accountId}`, { password: 'a password of twelve' }),
      ({ accountId }: TestAccount) => gatehouse.adminCall('DELETE', `/accounts/${accountId}/factors`),
    ]) {
      const { account } = await onDevice();
      assert.ok((await change(account)).ok);
      const rows = await gatehouse.database
        .selectFrom('remembered_devices')
        .select('device_id')
        .where('account_id', '=', account.accountId)
        .execute();
      assert.deepEqual(rows, []);
    }
  });

  it('is stored as a digest of its cookie', async () => {
    const { account, person } = await onDevice();
    const [, cookie] = [...person.cookies].find(([name]) => name.startsWith('gatehouse_device_'))!;
    const row = await gatehouse.database
      .selectFrom('remembered_devices')
      .selectAll()
      .where('account_id', '=', account.accountId)
      .executeTakeFirstOrThrow();
    assert.equal(JSON.stringify(row).includes(cookie.value), false);
    assert.equal(row.digest.toString('base64url') === cookie.value, false);
  });
});
