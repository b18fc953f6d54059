import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { decodeJwt } from 'jose';
import { MFA_ACR, PASSWORD_ACR } from '../../src/base/acr_values.ts';
import { Admin } from '../support/client/admin.ts';
import { BothPaths } from '../support/client/both_paths.ts';
import { registerApplication, signIn } from '../support/client/code_flow.ts';
import { addTo, demoAccountId, removeFrom } from '../support/client/roles.ts';
import { resetClock } from '../support/node/clock.ts';
import { postForm, startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { registerResource, type RegisteredClient } from '../support/node/operator.ts';
import { personWithApp } from '../support/person/authenticator.ts';
import { connectDevice, poll, registerDevice, requestDevice } from '../support/person/device_flow.ts';
import { Person } from '../support/person/person.ts';

const QUICK = { id_token_signed_response_alg: 'ES256' };

describe('a token of a login with a password, when an admin requires more since', () => {
  let gatehouse: Gatehouse;
  let admin: Admin;
  let both: BothPaths;
  let client: RegisteredClient;
  let accountId: string;
  let groupId: string;
  let wiki: string;
  before(async () => {
    gatehouse = await startGatehouse();
    admin = await Admin.of(gatehouse);
    both = new BothPaths(gatehouse);
    const { resource, scopes } = await registerResource(gatehouse, 'wiki');
    wiki = resource;
    client = await registerApplication(gatehouse, { ...QUICK, resources: [{ resource, scopes }] });
    accountId = await demoAccountId(admin);
    groupId = String((await admin.post('/groups', { name: 'Strict', required_acr: MFA_ACR })).body['group_id']);
  });
  after(() => gatehouse.stop());
  afterEach(resetClock);

  const patch = async (path: string, required_acr: string | null): Promise<void> => {
    const { status, text } = await admin.patch(path, { required_acr });
    assert.equal(status, 200, text);
  };
  const WAYS: Readonly<Record<string, (isDemanded: boolean) => Promise<void>>> = {
    'the client': (isDemanded) => patch(`/clients/${client.client_id}`, isDemanded ? MFA_ACR : null),
    'the resource': (isDemanded) => patch(`/resources/${encodeURIComponent(wiki)}`, isDemanded ? MFA_ACR : null),
    'a group of the person': (isDemanded) => (isDemanded ? addTo : removeFrom)(admin, { groupId }, accountId),
  };
  const how = { scope: 'openid wiki:read' };

  for (const [what, demand] of Object.entries(WAYS)) {
    it(`for ${what}, gives no token on either path; the refresh token works again when the demand ends`, async () => {
      const refreshes = await both.refreshes(client, how);
      const codes = await both.codes(client, how, both.apart());
      await demand(true);
      for (const forms of [refreshes, codes]) {
        const { taken, lean } = await both.compare(forms, client, what);
        assert.deepEqual([taken, lean.status, lean.body['error']], [false, 400, 'invalid_grant']);
        assert.match(String(lean.body['error_description']), /^a stronger login is required by now: /);
      }
      await demand(false);
      const { taken, lean } = await both.compare(refreshes, client, what);
      assert.deepEqual([taken, lean.status], [true, 200], JSON.stringify(lean.body));
    });
  }

  it('is refreshed as before where the demand is for another resource', async () => {
    const forms = await both.refreshes(client, how);
    const other = await registerResource(gatehouse, 'payroll', { required_acr: MFA_ACR });
    await patch(`/resources/${encodeURIComponent(other.resource)}`, MFA_ACR);
    assert.equal((await both.compare(forms, client, 'other')).taken, true);
  });

  it('is refused to a device too', async () => {
    const tv = await registerDevice(gatehouse);
    const { device_code, user_code } = await requestDevice(gatehouse, tv, { scope: 'openid' });
    await connectDevice(gatehouse, user_code);
    await patch(`/clients/${tv.client_id}`, MFA_ACR);
    assert.equal((await poll(gatehouse, tv, device_code)).error, 'invalid_grant');
  });

  it('does not touch a login with a second factor, whatever context its tokens name', async () => {
    const { account, person, authenticator } = await personWithApp(gatehouse);
    const other = new Person(gatehouse, { account, code: () => authenticator.code(1) });
    const forms = await both.refreshes(client, how, [person, other]);
    const { tokens } = await signIn(gatehouse, client, { ...how, person, parameters: { acr_values: PASSWORD_ACR } });
    assert.equal(decodeJwt(tokens.access_token)['acr'], PASSWORD_ACR);
    await addTo(admin, { groupId }, account.accountId);
    const { taken, lean } = await both.compare(forms, client, 'strong');
    assert.deepEqual([taken, lean.status], [true, 200]);
    const refresh = { grant_type: 'refresh_token', refresh_token: tokens.refresh_token! };
    assert.equal((await postForm(`${gatehouse.url}/token`, refresh, client)).status, 200);
  });
});
