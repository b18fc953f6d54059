import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { authorizationRequest, send as sendRequest } from '../support/client/authorization_request.ts';
import { requestCode } from '../support/client/code_flow.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { changePolicy, makePolicy, register, type Json } from '../support/client/registration.ts';

const HTTPS = 'https://editor.example/redirect';
const EDITOR = 'someeditor://vendor.editor-mcp/oauth/callback';

describe('a native application that registers itself', () => {
  let gatehouse: Gatehouse;
  before(async () => {
    gatehouse = await startGatehouse();
    await makePolicy(gatehouse, { name: 'open', open_registration: true });
  });
  after(() => gatehouse.stop());

  const registered = async (metadata: Json) => {
    const { status, body } = await register(gatehouse, { token_endpoint_auth_method: 'none', ...metadata });
    assert.equal(status, 201, body.error_description);
    return body;
  };
  const ask = async (client: { readonly client_id: string }, redirectUri: string): Promise<number> => {
    const response = await sendRequest(gatehouse, authorizationRequest(client, { redirect_uri: redirectUri }));
    await response.body?.cancel();
    return response.status;
  };
  const refusal = async (metadata: Json): Promise<string | undefined> =>
    (await register(gatehouse, { token_endpoint_auth_method: 'none', ...metadata })).body.error_description;

  it('may use any port of its loopback address, also beside an https URI and without a type (FIELD-C8)', async () => {
    for (const uris of [
      ['http://127.0.0.1/'],
      ['http://127.0.0.1/', 'http://127.0.0.1:33418/', HTTPS],
      [HTTPS, 'http://127.0.0.1/'],
      ['com.example.editor:/callback', HTTPS, 'http://127.0.0.1:1/'],
    ]) {
      const client = await registered({ redirect_uris: uris });
      assert.equal(client['application_type'], 'native');
      assert.equal(await ask(client, 'http://127.0.0.1:51234/'), 303, uris.join(' '));
    }
    const both = await registered({ redirect_uris: ['http://[::1]/cb', 'http://localhost/cb', HTTPS] });
    assert.equal(await ask(both, 'http://[::1]:51234/cb'), 303);
    assert.equal(await ask(both, 'http://localhost:51234/cb'), 303);
  });

  it('may use no other port of its https URI, and no other path or host of loopback (FIELD-C8)', async () => {
    const client = await registered({ redirect_uris: ['http://127.0.0.1/', HTTPS] });
    for (const uri of ['https://editor.example:8443/redirect', 'http://127.0.0.1:51234/x', 'http://localhost:51234/']) {
      assert.equal(await ask(client, uri), 400, uri);
    }
  });

  it('that says that it is a web application has the port that it registered (FIELD-C8)', async () => {
    const client = await registered({ application_type: 'web', redirect_uris: ['http://127.0.0.1:9000/', HTTPS] });
    assert.equal(await ask(client, 'http://127.0.0.1:9000/'), 303);
    assert.equal(await ask(client, 'http://127.0.0.1:51234/'), 400);
  });

  it('is told at once about a loopback address that it can’t use, and a web application is no native one by it (FIELD-C8)', async () => {
    for (const uri of ['https://localhost/cb', 'http://127.0.0.2/cb']) {
      const client = await registered({ redirect_uris: [uri, 'http://127.0.0.1:9000/'] });
      assert.equal(client['application_type'], 'web', uri);
      assert.equal(await ask(client, uri), 303, uri);
      const said = await refusal({ application_type: 'native', redirect_uris: [uri] });
      assert.match(said ?? '', /^redirect_uris\/0 must .* for application_type native/);
    }
  });

  it('has a scheme without a dot if the policy names it, and gets its code there (FIELD-C9)', async () => {
    assert.match((await refusal({ redirect_uris: [EDITOR] })) ?? '', /reversed domain name.*policy names/);
    await changePolicy(gatehouse, 'open', { redirect_uri_schemes: ['https', 'http', 'someeditor'] });
    const client = await registered({ redirect_uris: [EDITOR, HTTPS, 'http://localhost:8787/callback'] });
    assert.equal(client['application_type'], 'native');
    const { code } = await requestCode(
      gatehouse,
      { client_id: client.client_id, client_secret: '' },
      { parameters: { redirect_uri: EDITOR } },
    );
    assert.equal(typeof code, 'string');
    assert.match((await refusal({ redirect_uris: ['othereditor://callback'] })) ?? '', /must have the scheme https/);
    const patched = await gatehouse.adminCall('PATCH', `/clients/${client.client_id}`, { client_name: 'Editor' });
    assert.equal(patched.status, 200, 'an admin can still change the client');
    await changePolicy(gatehouse, 'open', { redirect_uri_schemes: null });
    assert.match((await refusal({ redirect_uris: [EDITOR] })) ?? '', /reversed domain name/);
  });

  it('never has a scheme that runs code or starts another app, and no policy can name one (FIELD-C9)', async () => {
    for (const scheme of ['javascript', 'data', 'file', 'blob', 'vbscript', 'about', 'intent']) {
      const schemes = { redirect_uri_schemes: ['https', scheme] };
      const patched = await gatehouse.adminCall('PATCH', '/registration-policies/open', schemes);
      assert.equal(patched.status, 400, scheme);
      assert.match(await patched.text(), new RegExp(`must not contain ${scheme}`));
      const made = await gatehouse.adminCall('POST', '/registration-policies', { name: 'unsafe', ...schemes });
      assert.equal(made.status, 400, scheme);
      for (const uri of [`${scheme}:alert(1)`, `${scheme.toUpperCase()}://host/x`]) {
        const redirectUris = { application_type: 'native', redirect_uris: [uri] };
        assert.equal(await refusal(redirectUris), `redirect_uris/0 must not use the scheme ${scheme}`, uri);
        const byAdmin = await gatehouse.adminCall('POST', '/clients', redirectUris);
        assert.equal(byAdmin.status, 400, uri);
      }
    }
  });

  it('is under a policy of before, which names such a scheme, still refused, and the policy is still read (FIELD-C9)', async () => {
    await makePolicy(gatehouse, { name: 'older', redirect_uri_schemes: ['https'] });
    const { database } = gatehouse;
    const { settings } = await database
      .selectFrom('registration_policies')
      .select('settings')
      .where('name', '=', 'older')
      .executeTakeFirstOrThrow();
    const older = JSON.stringify({ ...settings, redirect_uri_schemes: ['https', 'javascript'] });
    await database
      .updateTable('registration_policies')
      .set({ settings: older as never })
      .where('name', '=', 'older')
      .execute();
    assert.equal((await gatehouse.adminCall('GET', '/registration-policies/older')).status, 200);
    const patched = await gatehouse.adminCall('PATCH', '/registration-policies/older', { clients_at_most: 5 });
    assert.equal(patched.status, 400);
    assert.match(await patched.text(), /redirect_uri_schemes/);
  });
});
