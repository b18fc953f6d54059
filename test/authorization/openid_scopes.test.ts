import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import * as oauth from 'oauth4webapi';
import { registerApplication, registerPublicApplication, signIn } from '../support/client/code_flow.ts';
import { connectDevice, poll, registerDevice, requestDevice } from '../support/person/device_flow.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';

describe('scopes that are about a person', () => {
  let gatehouse: Gatehouse;
  let all = '';
  before(async () => {
    gatehouse = await startGatehouse();
    const issuer = new URL(gatehouse.issuer);
    const options = { [oauth.allowInsecureRequests]: true };
    const found = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, options));
    all = found.scopes_supported!.join(' ');
  });
  after(() => gatehouse.stop());

  it('are given as far as the client is registered for them, and the answer says which, to one that asks for all', async () => {
    const modest = await registerApplication(gatehouse, { scope: 'openid email' });
    const { tokens } = await signIn(gatehouse, modest, { scope: all });
    assert.equal(tokens.scope, 'openid email');
    assert.equal(typeof tokens.claims()!['email'], 'string');
    assert.equal('name' in tokens.claims()!, false);
  });

  it('are given beside those of an API, which are not narrowed', async () => {
    const modest = await registerPublicApplication(gatehouse, { scope: 'openid' });
    const { tokens } = await signIn(gatehouse, modest, { scope: 'openid profile notes:read' });
    assert.equal(tokens.scope, 'openid notes:read');
    assert.equal('name' in tokens.claims()!, false);
    await assert.rejects(signIn(gatehouse, modest, { scope: 'openid notes:delete' }), ({ cause }: Error) =>
      String(cause).includes('invalid_scope'),
    );
  });

  it('are given to a device in the same way', async () => {
    const tv = await registerDevice(gatehouse, { scope: 'openid' });
    const { device_code, user_code } = await requestDevice(gatehouse, tv, { scope: all });
    await connectDevice(gatehouse, user_code);
    assert.equal((await poll(gatehouse, tv, device_code)).scope, 'openid');
  });

  it('are refused where what is left would be no login', async () => {
    const api = await registerApplication(gatehouse, { scope: 'email' });
    await assert.rejects(signIn(gatehouse, api, { scope: 'openid email' }), ({ cause }: Error) =>
      String(cause).includes('invalid_scope'),
    );
  });
});
