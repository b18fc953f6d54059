import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Admin } from '../support/client/admin.ts';
import { BothPaths } from '../support/client/both_paths.ts';
import { registerApplication, requestCode, signIn } from '../support/client/code_flow.ts';
import { postForm, startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { registerClient, registerResource } from '../support/node/operator.ts';
import { connectDevice, poll, registerDevice, requestDevice } from '../support/person/device_flow.ts';

const WAYS = ['notes:read  notes:write', 'notes:read notes:write ', '  notes:read   notes:write  '];

describe('the scope parameter', () => {
  let gatehouse: Gatehouse;
  let both: BothPaths;
  before(async () => {
    gatehouse = await startGatehouse();
    both = new BothPaths(gatehouse);
  });
  after(() => gatehouse.stop());

  for (const scope of WAYS)
    it(`may have more than one space between or around scopes: ${JSON.stringify(scope)} (RFC 6749, 3.3; FIELD-C10)`, async () => {
      const machine = await registerClient(gatehouse);
      const form = { grant_type: 'client_credentials', scope };
      const { lean } = await both.compare([form, form], machine, scope);
      assert.deepEqual([lean.status, lean.body['scope']], [200, 'notes:read notes:write']);
      const application = await registerApplication(gatehouse);
      const { tokens } = await signIn(gatehouse, application, { scope: `${scope} openid` });
      assert.equal(tokens.scope, 'openid notes:read notes:write');
      const refresh = { grant_type: 'refresh_token', refresh_token: tokens.refresh_token!, scope: ` ${scope}` };
      const refreshed = await both.lean(refresh, application);
      assert.deepEqual([refreshed.status, refreshed.body['scope']], [200, 'notes:read notes:write']);
    });

  it('may have them in a pushed request and in a device request (FIELD-C10)', async () => {
    const application = await registerApplication(gatehouse);
    const form = {
      client_id: application.client_id,
      response_type: 'code',
      redirect_uri: 'https://app.example.com/callback',
      scope: 'openid  email ',
      prompt: ' login  consent ',
      code_challenge: 'x'.repeat(43),
      code_challenge_method: 'S256',
    };
    const pushed = await postForm(`${gatehouse.url}/par`, form, application);
    assert.equal(pushed.status, 201, await pushed.text());
    const tv = await registerDevice(gatehouse);
    const { device_code, user_code } = await requestDevice(gatehouse, tv, { scope: ' openid  email' });
    await connectDevice(gatehouse, user_code);
    assert.equal((await poll(gatehouse, tv, device_code)).scope, 'openid email');
  });

  it('of spaces alone is as good as none, on both paths (RFC 6749, 3.1; FIELD-C10)', async () => {
    const machine = await registerClient(gatehouse);
    const form = { grant_type: 'client_credentials', scope: '  ' };
    const { lean } = await both.compare([form, form], machine, 'spaces');
    assert.deepEqual([lean.status, lean.body['scope']], [200, 'notes:read notes:write']);
  });

  it('may not have other separators, on both paths (FIELD-C10)', async () => {
    const machine = await registerClient(gatehouse);
    for (const scope of ['notes:read\tnotes:write', 'notes:read\nnotes:write', 'notes:read\u00a0notes:write']) {
      const form = { grant_type: 'client_credentials', scope };
      const { lean } = await both.compare([form, form], machine, scope);
      assert.deepEqual([lean.status, lean.body['error']], [400, 'invalid_scope']);
    }
  });

  it('of a client is stored with single spaces (FIELD-C10)', async () => {
    const admin = await Admin.of(gatehouse);
    const { status, body, text } = await admin.post('/clients', { scope: ' openid  email ' });
    assert.deepEqual([status, body['scope']], [201, 'openid email'], text);
  });

  describe('with scopes of two resources and no resource parameter', () => {
    const scope = 'notes:read files:read';
    const resources = async () => {
      const notes = { resource: gatehouse.demo.resource, scopes: gatehouse.demo.scope.split(' ') };
      return [notes, await registerResource(gatehouse, 'files')];
    };
    let access: Awaited<ReturnType<typeof resources>>;
    before(async () => {
      access = await resources();
    });

    it('tells a program to send a request for each, on both paths (FIELD-C16)', async () => {
      const machine = await registerClient(gatehouse, { resources: access });
      const form = { grant_type: 'client_credentials', scope };
      const { lean } = await both.compare([form, form], machine, scope);
      assert.deepEqual(
        [lean.status, lean.body['error'], lean.body['error_description']],
        [
          400,
          'invalid_target',
          'no one resource of this client has all of these scopes: send one request for each resource, with its scopes',
        ],
      );
    });

    it('tells an application to name the resources, which it may then ask for together (FIELD-C16)', async () => {
      const application = await registerApplication(gatehouse, { resources: access });
      const { callback } = await requestCode(gatehouse, application, { scope });
      assert.equal(callback.searchParams.get('error'), 'invalid_target');
      assert.match(
        callback.searchParams.get('error_description') ?? '',
        /name each of their resources with a resource parameter$/,
      );
    });

    it('is refused for a scope that the client was not given (FIELD-C16)', async () => {
      const machine = await registerClient(gatehouse, { resources: access });
      const form = { grant_type: 'client_credentials', scope: `${scope} files:delete` };
      const { lean } = await both.compare([form, form], machine, 'beyond');
      assert.deepEqual([lean.body['error'], lean.body['scope']], ['invalid_scope', 'files:delete']);
    });
  });
});
