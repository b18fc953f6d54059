import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import * as oauth from 'oauth4webapi';
import * as openid from 'openid-client';
import { requestCode, REDIRECT_URI, signIn } from '../support/client/code_flow.ts';
import { postForm, startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { registerResource } from '../support/node/operator.ts';
import { auditEvents, makePolicy, makeToken, register, send } from '../support/client/registration.ts';

describe('registration without a token', () => {
  let gatehouse: Gatehouse;
  before(async () => {
    gatehouse = await startGatehouse();
  });
  after(() => gatehouse.stop());

  it('is closed unless a policy opens it, and discovery says so', async () => {
    assert.equal('registration_endpoint' in (await metadataOf(gatehouse)), false);
    const { status, body, headers } = await register(gatehouse);
    assert.equal(status, 401);
    assert.equal(body.error, 'invalid_token');
    assert.equal(headers.get('www-authenticate'), `Bearer realm="${gatehouse.issuer}"`);
    await makePolicy(gatehouse, { name: 'by-token' });
    assert.equal((await metadataOf(gatehouse))['registration_endpoint'], `${gatehouse.issuer}/register`);
    assert.equal((await register(gatehouse)).status, 401, 'a policy by itself opens nothing');
    const [refused] = await auditEvents(gatehouse, 'registration.refused');
    assert.deepEqual(refused?.['details'], { error: 'invalid_token', reason: 'token_missing' });
  });
});

describe('open registration', () => {
  let gatehouse: Gatehouse;
  let api: { readonly resource: string; readonly scopes: string[] };
  before(async () => {
    gatehouse = await startGatehouse();
    api = await registerResource(gatehouse, 'notes');
    await makePolicy(gatehouse, {
      name: 'open',
      open_registration: true,
      resources: [{ resource: api.resource, scopes: api.scopes }],
    });
  });
  after(() => gatehouse.stop());

  it('gives an independent client all that it needs to log people in', async () => {
    const config = await openid.dynamicClientRegistration(
      new URL(gatehouse.issuer),
      { redirect_uris: [REDIRECT_URI], client_name: 'Notes', grant_types: ['authorization_code', 'refresh_token'] },
      openid.ClientSecretBasic(),
      { execute: [openid.allowInsecureRequests] },
    );
    const { client_id, client_secret = '', client_secret_expires_at } = config.clientMetadata();
    assert.match(client_secret, /^gatehouse_secret_/);
    assert.equal(client_secret_expires_at, 0);
    const client = { client_id, client_secret };
    const how = { scope: 'openid notes:read', parameters: { resource: api.resource } };
    const { tokens } = await signIn(gatehouse, client, how);
    assert.equal(tokens.claims()?.aud, client_id);
    const renewed = await openid.refreshTokenGrant(config, tokens.refresh_token!);
    assert.equal(renewed.scope, 'notes:read');
  });

  it('answers as oauth4webapi expects it, with what was registered and nothing that is stored secretly', async () => {
    const as = { issuer: gatehouse.issuer, registration_endpoint: `${gatehouse.issuer}/register` };
    const response = await oauth.dynamicClientRegistrationRequest(
      as,
      { redirect_uris: [REDIRECT_URI], token_endpoint_auth_method: 'none' },
      { [oauth.allowInsecureRequests]: true },
    );
    assert.equal(response.headers.get('cache-control'), 'no-store');
    const registered = await oauth.processDynamicClientRegistrationResponse(response);
    assert.equal('client_secret' in registered, false);
    assert.equal(registered.scope, 'openid profile email offline_access notes:read notes:write');
    assert.deepEqual(registered.grant_types, ['authorization_code']);
    for (const member of ['resources', 'introspects', 'secret_rotation_days'])
      assert.equal(member in registered, false);
  });

  it('is on record with the policy and whose rights came of it', async () => {
    const { body } = await register(gatehouse);
    const registered = (await auditEvents(gatehouse, 'client.registered')).find(
      (event) => event['client_id'] === body.client_id,
    );
    assert.deepEqual(registered?.['actor'], { type: 'anonymous' });
    assert.equal((registered?.['details'] as { policy?: string } | undefined)?.policy, 'open');
  });

  it('lets a page of any origin register, as programs in browsers do', async () => {
    const preflight = await fetch(`${gatehouse.url}/register`, {
      method: 'OPTIONS',
      headers: { origin: 'https://spa.example', 'access-control-request-method': 'POST' },
    });
    assert.equal(preflight.status, 204);
    assert.equal(preflight.headers.get('access-control-allow-origin'), '*');
    assert.match(preflight.headers.get('access-control-allow-headers') ?? '', /Content-Type/);
    const headers = { origin: 'https://spa.example' };
    const answer = await send(
      'POST',
      `${gatehouse.url}/register`,
      { redirect_uris: [REDIRECT_URI] },
      undefined,
      headers,
    );
    assert.equal(answer.headers.get('access-control-allow-origin'), '*');
    assert.equal(answer.headers.get('access-control-allow-credentials'), null);
  });

  it('asks the person each time about a public client that no admin has checked', async () => {
    const { body } = await register(gatehouse, { token_endpoint_auth_method: 'none' });
    const client = { client_id: body.client_id, client_secret: '' };
    const { person } = await requestCode(gatehouse, client);
    const consents = (): number => person.trace.filter((line) => line.endsWith('/consent 303')).length;
    assert.equal(consents(), 1);
    await requestCode(gatehouse, client, { person });
    assert.equal(consents(), 2);
    const account = await person.open(`${gatehouse.url}/account/applications`);
    assert.match(account.page, new RegExp(body.client_id), 'and what they allowed can be taken back');
    const confidential = (await register(gatehouse)).body;
    const known = { client_id: confidential.client_id, client_secret: confidential.client_secret! };
    await requestCode(gatehouse, known, { person });
    await requestCode(gatehouse, known, { person });
    assert.equal(consents(), 3, 'a client that proves itself is asked about once');
  });

  it('says what can’t be read, and with what status', async () => {
    const url = `${gatehouse.url}/register`;
    assert.equal((await send('POST', url, '{"redirect_uris": [')).status, 400);
    assert.equal((await send('POST', url, '[]')).body.error, 'invalid_request');
    assert.equal((await send('POST', url, '{"client_name":"a","client_name":"b"}')).status, 400);
    assert.equal((await send('POST', url, `{"client_name":"${'a'.repeat(70_000)}"}`)).status, 413);
    assert.equal((await send('POST', url, '{}', undefined, { 'content-type': 'text/plain' })).status, 415);
    const got = await send('GET', url);
    assert.equal(got.status, 405);
    assert.equal(got.headers.get('allow'), 'POST, OPTIONS');
  });

  it('ends the secret when the policy says so', async () => {
    await makePolicy(gatehouse, { name: 'short', client_secret_ttl_seconds: 3_600 });
    const { initial_access_token } = await makeToken(gatehouse, 'short');
    const { body } = await register(gatehouse, {}, initial_access_token);
    const expiresAt = Number(body['client_secret_expires_at']);
    assert.equal(Math.abs(expiresAt - Date.now() / 1000 - 3_600) < 60, true);
  });

  it('gives what the policy gives at the time, to the clients that it has already', async () => {
    const { body } = await register(gatehouse);
    const client = { client_id: body.client_id, client_secret: body.client_secret! };
    const later = await registerResource(gatehouse, 'later');
    const how = { scope: 'later:read', parameters: { resource: later.resource } };
    await assert.rejects(signIn(gatehouse, client, how), /invalid_target/);
    const resources = [api, later].map(({ resource, scopes }) => ({ resource, scopes }));
    await gatehouse.adminCall('PATCH', '/registration-policies/open', { resources });
    assert.equal((await signIn(gatehouse, client, how)).tokens.scope, 'later:read');
    await gatehouse.adminCall('PATCH', '/registration-policies/open', { resources: resources.slice(0, 1) });
    await assert.rejects(signIn(gatehouse, client, how), /invalid_target/);
  });

  it('gives no token to a client by itself (DCR-23)', async () => {
    const { body } = await register(gatehouse, { token_endpoint_auth_method: 'none' });
    const form = { grant_type: 'client_credentials', client_id: body.client_id, scope: 'notes:read' };
    const response = await postForm(`${gatehouse.url}/token`, form);
    assert.equal([400, 401].includes(response.status), true);
    assert.equal('access_token' in ((await response.json()) as object), false);
  });
});

async function metadataOf({ url }: Gatehouse): Promise<Readonly<Record<string, unknown>>> {
  const response = await fetch(`${url}/.well-known/oauth-authorization-server`);
  return (await response.json()) as Record<string, unknown>;
}
