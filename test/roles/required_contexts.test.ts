import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { MFA_ACR, PASSWORD_ACR, PHISHING_RESISTANT_ACR } from '../../src/base/acr_values.ts';
import { Admin } from '../support/client/admin.ts';
import { ask, pageOf, poll, registerTill } from '../support/client/backchannel.ts';
import { registerApplication, requestCode, signIn } from '../support/client/code_flow.ts';
import { addTo, removeFrom } from '../support/client/roles.ts';
import { resetClock } from '../support/node/clock.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import type { RegisteredClient } from '../support/node/operator.ts';
import {
  Authenticator,
  newAccount,
  personWithApp,
  reachSecondStep,
  readEnrolment,
} from '../support/person/authenticator.ts';
import { fieldsOf } from '../support/person/device_flow.ts';
import { Person } from '../support/person/person.ts';

describe('a group that requires a second factor', () => {
  let gatehouse: Gatehouse;
  let admin: Admin;
  let client: RegisteredClient;
  let groupId: string;
  before(async () => {
    gatehouse = await startGatehouse();
    admin = await Admin.of(gatehouse);
    client = await registerApplication(gatehouse);
    groupId = String((await admin.post('/groups', { name: 'Strict', required_acr: MFA_ACR })).body['group_id']);
  });
  after(() => gatehouse.stop());
  afterEach(resetClock);

  const silent = async (person: Person): Promise<string | null> => {
    const { callback } = await requestCode(gatehouse, client, { person, parameters: { prompt: 'none' } });
    return callback.searchParams.get('error');
  };
  const askedTwice = (person: Person): boolean => person.trace.some((line) => line.includes('/second-step'));

  it('is set, shown and changed by an admin, on the record', async () => {
    const created = await admin.post('/groups', { name: 'Changing', required_acr: MFA_ACR });
    assert.deepEqual([created.status, created.body['required_acr']], [201, MFA_ACR]);
    const path = `/groups/${String(created.body['group_id'])}`;
    assert.equal((await admin.get(path)).body['required_acr'], MFA_ACR);
    for (const required_acr of ['urn:x', PASSWORD_ACR, 'phrh', 1])
      assert.equal((await admin.patch(path, { required_acr })).status, 400, String(required_acr));
    const changed = await admin.patch(path, { required_acr: PHISHING_RESISTANT_ACR });
    assert.equal(changed.body['required_acr'], PHISHING_RESISTANT_ACR);
    const { accountId } = await newAccount(gatehouse);
    await addTo(admin, { groupId: path.split('/').at(-1)! }, accountId);
    const [ofAccount] = (await admin.get(`/accounts/${accountId}/groups`)).body.items;
    assert.equal(ofAccount!['required_acr'], PHISHING_RESISTANT_ACR);
    assert.equal((await admin.patch(path, { required_acr: null })).body['required_acr'], null);
    const { items } = (await admin.get('/audit-events?event=group.updated')).body;
    const recorded = items.map(({ details }) => details as { before: object; after: object });
    assert.deepEqual(
      recorded.slice(0, 2).map(({ before: was, after: is }) => [was, is]),
      [
        [{ required_acr: PHISHING_RESISTANT_ACR }, {}],
        [{ required_acr: MFA_ACR }, { required_acr: PHISHING_RESISTANT_ACR }],
      ],
    );
  });

  it('asks its members for the second step, also on a remembered device, and others not', async () => {
    const { account, authenticator } = await personWithApp(gatehouse);
    const person = new Person(gatehouse, { account });
    const { arrival, action } = await reachSecondStep(gatehouse, person);
    assert.ok(arrival.page.includes('remember_device'));
    await person.submit(action, { code: authenticator.code(), remember_device: 'on' });
    const onDevice = (code?: () => string): Person => {
      const again = new Person(gatehouse, { account, ...(code && { code }) });
      for (const [name, cookie] of person.cookies) if (name !== 'gatehouse_session') again.cookies.set(name, cookie);
      return again;
    };
    const other = onDevice();
    assert.equal((await signIn(gatehouse, client, { person: other })).tokens.claims()!['acr'], PASSWORD_ACR);
    assert.equal(askedTwice(other), false);
    await addTo(admin, { groupId }, account.accountId);
    const offered = (await reachSecondStep(gatehouse, onDevice())).arrival;
    assert.equal(offered.page.includes('remember_device'), false);
    const member = onDevice(() => authenticator.code(1));
    assert.equal((await signIn(gatehouse, client, { person: member })).tokens.claims()!['acr'], MFA_ACR);
    assert.ok(askedTwice(member));
    assert.equal(await silent(member), null);
  });

  it('raises a session from before the membership, and leaves it after the membership', async () => {
    const account = await newAccount(gatehouse);
    const person = new Person(gatehouse, { account });
    await signIn(gatehouse, client, { person });
    assert.equal(await silent(person), null);
    await addTo(admin, { groupId }, account.accountId);
    assert.equal(await silent(person), 'login_required');
    await assert.rejects(requestCode(gatehouse, client, { person }), /This login needs a second factor/);
    await removeFrom(admin, { groupId }, account.accountId);
    assert.equal(await silent(person), null);
  });

  it('lets a member without a factor add one only with a code of an admin', async () => {
    const account = await newAccount(gatehouse);
    await addTo(admin, { groupId }, account.accountId);
    const url = `${gatehouse.issuer}/account/authenticator`;
    const { page } = await new Person(gatehouse, { account }).walk(url);
    assert.match(page, /ask the people who run this service for a code/);
    assert.equal(page.includes('<dt>Key</dt>'), false);
    const { body } = await admin.post(`/accounts/${account.accountId}/enrolment-code`);
    const person = new Person(gatehouse, { account });
    const { action } = await reachSecondStep(gatehouse, person, url);
    const enrolment = await person.submit(action, { recovery_code: String(body['code']) });
    assert.ok(readEnrolment(enrolment.page).secret);
  });

  it('lets nobody add the first factor with a login from before the membership', async () => {
    const account = await newAccount(gatehouse);
    const person = new Person(gatehouse, { account });
    const url = `${gatehouse.issuer}/account/authenticator`;
    const { secret, fields } = readEnrolment((await person.walk(url)).page);
    await addTo(admin, { groupId }, account.accountId);
    const refused = await person.submit(url, { ...fields, code: new Authenticator(secret).code() });
    assert.equal(refused.response.status, 403);
    assert.deepEqual((await admin.get(`/accounts/${account.accountId}/factors`)).body.items, []);
  });

  it('counts beside what the client requires: the strongest decides', async () => {
    const { account, person } = await personWithApp(gatehouse);
    await addTo(admin, { groupId }, account.accountId);
    const strict = await registerApplication(gatehouse, { required_acr: PHISHING_RESISTANT_ACR });
    const refused = await requestCode(gatehouse, strict, { person });
    // a server at an IP address offers no passkeys
    assert.equal(refused.callback.searchParams.get('error'), 'unmet_authentication_requirements');
    const { body } = await admin.post('/groups', { name: 'Strictest', required_acr: PHISHING_RESISTANT_ACR });
    const alike = await registerApplication(gatehouse, { required_acr: MFA_ACR });
    assert.equal((await signIn(gatehouse, alike, { person })).tokens.claims()!['acr'], MFA_ACR);
    await addTo(admin, { groupId: String(body['group_id']) }, account.accountId);
    const unmet = await requestCode(gatehouse, alike, { person });
    assert.equal(unmet.callback.searchParams.get('error'), 'unmet_authentication_requirements');
  });

  it('is asked for before a backchannel request is approved (CIBA)', async () => {
    const till = await registerTill(gatehouse);
    const account = await newAccount(gatehouse);
    const person = new Person(gatehouse, { account });
    await person.walk(`${gatehouse.issuer}/account/login`);
    const asked = await ask(gatehouse, till, { login_hint: account.email });
    const url = pageOf(gatehouse, asked);
    const weak = await person.open(url);
    await addTo(admin, { groupId }, account.accountId);
    const { page } = await person.submit(url, { ...fieldsOf(weak.page), decision: 'approve' });
    assert.match(page, /<h1>Confirm that it’s you<\/h1>/);
    assert.equal((await poll(gatehouse, till, asked)).error, 'authorization_pending');
  });
});
