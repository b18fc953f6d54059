import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { CIBA } from '../../src/clients/metadata/flows.ts';
import { Admin } from '../support/client/admin.ts';
import { ask, pageOf, registerTill } from '../support/client/backchannel.ts';
import { registerApplication, requestCode, signIn } from '../support/client/code_flow.ts';
import { BANK, openBank, PAYMENT } from '../support/client/payments.ts';
import { makePolicy, register } from '../support/client/registration.ts';
import { demoAccountId, endRole, makeRole } from '../support/client/roles.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { registerDevice, requestDevice, enterCode } from '../support/person/device_flow.ts';
import { Person } from '../support/person/person.ts';

const FIRST = { first_party: true, client_name: 'Our own shop' };

describe('a first-party application', () => {
  let gatehouse: Gatehouse;
  let admin: Admin;
  before(async () => {
    gatehouse = await startGatehouse();
    admin = await Admin.of(gatehouse);
  });
  after(() => gatehouse.stop());

  /** A person without whom nothing is allowed: they deny where they are asked. */
  const denying = (): Person => new Person(gatehouse, { decision: 'deny' });
  const hasGrant = async (clientId: string): Promise<boolean> => {
    const grants = gatehouse.database.selectFrom('grants').select('grant_id').where('client_id', '=', clientId);
    return (await grants.execute()).length > 0;
  };
  const wasAsked = (callback: URL): boolean => callback.searchParams.get('error') === 'access_denied';

  it('gets what it asks for without a question, on record, and is on the account page', async () => {
    const client = await registerApplication(gatehouse, FIRST);
    const person = denying();
    const { tokens } = await signIn(gatehouse, client, { scope: 'openid email notes:read', person });
    assert.equal(tokens.scope, 'openid email notes:read');
    const { body } = await admin.get(`/audit-events?event=consent.skipped&client_id=${client.client_id}`);
    assert.deepEqual(
      body.items.map((item) => [item['account_id'], (item['details'] as { scopes: string[] }).scopes]),
      [[await demoAccountId(admin), ['openid', 'email', 'notes:read']]],
    );
    const again = await signIn(gatehouse, client, { scope: 'openid notes:read notes:write', person });
    assert.match(String(again.tokens.scope), /notes:write/, 'More is granted without a question too.');
    const { page } = await person.open(`${gatehouse.issuer}/account/applications`);
    assert.match(page, /Our own shop[^]*belongs to this service/);
  });

  it('gets single claims without a question too, also for the API', async () => {
    const client = await registerApplication(gatehouse, FIRST);
    const claims = JSON.stringify({ userinfo: { email: null } });
    const how = { scope: 'openid notes:read', parameters: { claims }, person: denying() };
    const { tokens } = await signIn(gatehouse, client, how);
    const { body } = await admin.get(`/audit-events?event=consent.skipped&client_id=${client.client_id}`);
    const scopes = body.items.map((item) => (item['details'] as { scopes: string[] }).scopes);
    assert.deepEqual(scopes, [['openid', 'email', 'notes:read']]);
    const answer = await fetch(`${gatehouse.url}/userinfo`, {
      headers: { authorization: `Bearer ${tokens.access_token}` },
    });
    assert.equal(((await answer.json()) as { email?: string }).email, gatehouse.account.email);
  });

  it('gets no more than the person’s roles permit', async () => {
    const held = await makeRole(admin, gatehouse.demo.resource, 'notes:write');
    const client = await registerApplication(gatehouse, FIRST);
    const { tokens } = await signIn(gatehouse, client, { scope: 'notes:read notes:write', person: denying() });
    assert.equal(tokens.scope, 'notes:read');
    await endRole(admin, held);
    const grants = await gatehouse.database
      .selectFrom('grants')
      .select('payload')
      .where('client_id', '=', client.client_id)
      .execute();
    assert.doesNotMatch(JSON.stringify(grants), /notes:write/);
  });

  it('asks with prompt=consent, for authorization details, in the device flow and in a backchannel request', async () => {
    const client = await registerApplication(gatehouse, FIRST);
    const prompted = await requestCode(gatehouse, client, { parameters: { prompt: 'consent' }, person: denying() });
    assert.equal(wasAsked(prompted.callback), true);
    assert.equal(await hasGrant(client.client_id), false, 'Nothing was granted before the person was asked.');

    const { shop } = await openBank(gatehouse);
    assert.equal((await admin.patch(`/clients/${shop.client_id}`, FIRST)).status, 200);
    const paid = await requestCode(gatehouse, shop, {
      scope: 'accounts:read',
      parameters: { resource: BANK, authorization_details: JSON.stringify([PAYMENT]) },
      person: denying(),
    });
    assert.equal(wasAsked(paid.callback), true);
    assert.equal(await hasGrant(shop.client_id), false);

    const tv = await registerDevice(gatehouse, {
      ...FIRST,
      redirect_uris: ['https://tv.example.com/callback'],
      grant_types: ['authorization_code', 'urn:ietf:params:oauth:grant-type:device_code'],
    });
    const { user_code } = await requestDevice(gatehouse, tv, { scope: 'openid' });
    const person = denying();
    const end = await person.finish(await enterCode(gatehouse, person, user_code));
    assert.match(end.page, /was not connected/);
    assert.ok(person.trace.some((step) => /POST .*\/consent/.test(step)));

    const till = await registerTill(gatehouse, {
      ...FIRST,
      grant_types: [CIBA, 'authorization_code'],
      redirect_uris: ['https://till.example.com/callback'],
    });
    const asked = await ask(gatehouse, till);
    const visitor = new Person(gatehouse);
    const { page } = await visitor.finish(await visitor.open(pageOf(gatehouse, asked)));
    assert.match(page, /Approve/);
  });

  it('is set by an admin alone, on record, with a warning, and never for what any program can pose as', async () => {
    const application = { redirect_uris: ['https://app.example.com/callback'] };
    const { body } = await admin.post('/clients', { ...application, ...FIRST });
    assert.match(JSON.stringify(body['warnings']), /not asked for consent/);
    await admin.patch(`/clients/${body.client_id}`, { first_party: null });
    const events = (
      await admin.get(`/audit-events?event=client.first_party_set,client.first_party_ended&client_id=${body.client_id}`)
    ).body.items;
    assert.deepEqual(events.map((item) => String(item['event'])).toSorted(), [
      'client.first_party_ended',
      'client.first_party_set',
    ]);

    const refused: readonly object[] = [
      { grant_types: ['client_credentials'] },
      { token_endpoint_auth_method: 'none', redirect_uris: ['http://127.0.0.1/callback'], application_type: 'native' },
      { token_endpoint_auth_method: 'none', redirect_uris: ['com.example.app:/cb'], application_type: 'native' },
    ];
    for (const members of refused) {
      const { status, body: problem } = await admin.post('/clients', { ...FIRST, ...members });
      assert.deepEqual([status, problem.errors?.[0]?.pointer], [400, '/first_party'], JSON.stringify(members));
    }
    await makePolicy(gatehouse, { name: 'open', open_registration: true });
    const registered = await register(gatehouse, {});
    const patched = await admin.patch(`/clients/${registered.body.client_id}`, { first_party: true });
    assert.deepEqual(
      [patched.status, patched.body.errors[0]!.detail],
      [400, 'is not allowed for a client that registered itself'],
    );
  });
});
