import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { ADMIN_ONLY_MEMBERS } from '../../src/clients/metadata/client_metadata.ts';
import { Admin } from '../support/client/admin.ts';
import { REDIRECT_URI, registerPublicApplication, requestCode, signIn } from '../support/client/code_flow.ts';
import { makePolicy, makeToken, register, send } from '../support/client/registration.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import type { RegisteredClient } from '../support/node/operator.ts';

const WEB_VIEW = 'capacitor://localhost';
const OTHER = 'https://app.other.example:8443';

describe('the allowed CORS origins of a client', () => {
  let gatehouse: Gatehouse;
  let admin: Admin;
  before(async () => {
    gatehouse = await startGatehouse();
    admin = await Admin.of(gatehouse);
  });
  after(() => gatehouse.stop());

  const tokenRequest = async (client: RegisteredClient, origin: string): Promise<Response> => {
    const { code, verifier } = await requestCode(gatehouse, client);
    return fetch(`${gatehouse.url}/token`, {
      method: 'POST',
      headers: { origin },
      body: new URLSearchParams({
        grant_type: 'authorization_code',
        client_id: client.client_id,
        code,
        code_verifier: verifier,
        redirect_uri: REDIRECT_URI,
      }),
    });
  };
  const readerOf = async (answer: Response): Promise<readonly [number, string | null]> => {
    await answer.body?.cancel();
    assert.equal(answer.headers.get('access-control-allow-credentials'), null);
    return [answer.status, answer.headers.get('access-control-allow-origin')];
  };

  it('let pages there read the answers of the token, userinfo, revocation and PAR endpoints, and no page elsewhere (FIELD-C7)', async () => {
    const client = await registerPublicApplication(gatehouse, { allowed_cors_origins: [WEB_VIEW, OTHER] });
    const { tokens } = await signIn(gatehouse, client);
    const calls: Readonly<Record<string, (origin: string) => Promise<Response>>> = {
      token: (origin) => tokenRequest(client, origin),
      userinfo: (origin) =>
        fetch(`${gatehouse.url}/userinfo`, { headers: { origin, authorization: `Bearer ${tokens.access_token}` } }),
      revocation: (origin) =>
        fetch(`${gatehouse.url}/revoke`, {
          method: 'POST',
          headers: { origin },
          body: new URLSearchParams({ client_id: client.client_id, token: 'none' }),
        }),
      par: (origin) =>
        fetch(`${gatehouse.url}/par`, {
          method: 'POST',
          headers: { origin },
          body: new URLSearchParams({
            client_id: client.client_id,
            response_type: 'code',
            redirect_uri: REDIRECT_URI,
            scope: 'openid',
            code_challenge: 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM',
            code_challenge_method: 'S256',
          }),
        }),
    };
    for (const [endpoint, call] of Object.entries(calls)) {
      for (const origin of [WEB_VIEW, OTHER, new URL(REDIRECT_URI).origin]) {
        const [status, reader] = await readerOf(await call(origin));
        assert.ok(status < 300, `${endpoint} from ${origin}: ${status}`);
        assert.equal(reader, origin, `${endpoint} from ${origin}`);
      }
      const others = ['null', 'capacitor://localhos', 'ionic://localhost', 'https://app.other.example', `${OTHER}0`];
      for (const origin of others) {
        assert.deepEqual(await readerOf(await call(origin)), [400, null], `${endpoint} from ${origin}`);
      }
    }
  });

  it('are in force as soon as an admin has set them, and end at once; the trail has them before and after (FIELD-C7)', async () => {
    const client = await registerPublicApplication(gatehouse);
    const path = `/clients/${client.client_id}`;
    const reader = async () => (await readerOf(await tokenRequest(client, WEB_VIEW)))[1];
    assert.equal(await reader(), null);
    const changed = await admin.patch(path, { allowed_cors_origins: [WEB_VIEW] });
    assert.deepEqual([changed.status, changed.body['allowed_cors_origins']], [200, [WEB_VIEW]]);
    assert.equal(await reader(), WEB_VIEW);
    assert.equal((await admin.patch(path, { allowed_cors_origins: null })).status, 200);
    assert.equal(await reader(), null);

    const { body } = await admin.get(`/audit-events?event=client.updated&client_id=${client.client_id}`);
    const values = body.items.map(({ details }) => {
      const { before: was, after: is } = details as Record<string, Record<string, unknown>>;
      return [was?.['allowed_cors_origins'] ?? null, is?.['allowed_cors_origins'] ?? null];
    });
    assert.deepEqual(values, [
      [[WEB_VIEW], null],
      [null, [WEB_VIEW]],
    ]);
    const made = await admin.post('/clients', {
      redirect_uris: [REDIRECT_URI],
      token_endpoint_auth_method: 'none',
      allowed_cors_origins: [OTHER],
    });
    const created = await admin.get(`/audit-events?event=client.created&client_id=${made.body.client_id}`);
    const details = created.body.items[0]?.['details'] as Record<string, unknown>;
    assert.deepEqual(details['allowed_cors_origins'], [OTHER]);
  });

  it('are exact origins of pages: no wildcard, no null, no path, no plain http off the device (FIELD-C7)', async () => {
    const application = { redirect_uris: [REDIRECT_URI], token_endpoint_auth_method: 'none' };
    const answer = (allowed_cors_origins: unknown) => admin.post('/clients', { ...application, allowed_cors_origins });
    for (const origin of [
      '*',
      'null',
      '',
      'https://*.example.com',
      'https://app.example.com/',
      'https://app.example.com/path',
      'https://App.example.com',
      'https://app.example.com:443',
      'https://user@app.example.com',
      'https://app.example.com?x',
      'https://app.example.com#x',
      'https://app.example.com ',
      'https://m\u00FCnchen.example',
      'http://app.example.com',
      'app.example.com',
      'capacitor://',
      'capacitor://localhost/',
      'Capacitor://localhost',
      'javascript://localhost',
      'data://localhost',
      'file://localhost',
      'blob:https://app.example.com',
      'com.example.app:/callback',
      `https://${'a'.repeat(300)}.example`,
    ]) {
      const { status, body, text } = await answer([origin]);
      assert.equal(status, 400, origin);
      assert.equal(body.errors[0]?.pointer, '/allowed_cors_origins/0', origin);
      assert.match(text, /^[\x20-\x7e]*$/, 'the error is ASCII');
    }
    assert.equal((await answer([OTHER, OTHER])).status, 400);
    assert.equal((await answer(Array.from({ length: 21 }, (_, at) => `https://a${at}.example`))).status, 400);
    assert.equal((await answer('*')).status, 400);
    const good = [OTHER, WEB_VIEW, 'https://localhost', 'http://localhost', 'http://127.0.0.1:5173', 'http://[::1]:80'];
    for (const origin of good.slice(0, -1)) {
      const { status, text } = await answer([origin]);
      assert.equal(status, 201, `${origin}: ${text}`);
    }
    assert.equal((await answer(good.slice(-1))).status, 400, 'a default port is not in the normal form');
  });

  it('are for public clients alone: a page can keep no secret (FIELD-C7)', async () => {
    const wanted = { redirect_uris: [REDIRECT_URI], allowed_cors_origins: [OTHER] };
    const { status, body } = await admin.post('/clients', wanted);
    assert.deepEqual([status, body.errors[0]?.pointer], [400, '/allowed_cors_origins']);
    const client = await registerPublicApplication(gatehouse, { allowed_cors_origins: [OTHER] });
    const patch = { token_endpoint_auth_method: 'client_secret_basic' };
    assert.equal((await admin.patch(`/clients/${client.client_id}`, patch)).status, 400);
  });

  it('are set by admins alone, and stay when the client replaces its registration (FIELD-C7)', async () => {
    assert.ok(ADMIN_ONLY_MEMBERS.includes('allowed_cors_origins'));
    await makePolicy(gatehouse, { name: 'pages', token_endpoint_auth_methods: ['none'] });
    const { initial_access_token } = await makeToken(gatehouse, 'pages', { uses: 5 });
    const wanted = { allowed_cors_origins: [OTHER] };
    const refused = await register(gatehouse, wanted, initial_access_token);
    assert.deepEqual([refused.status, refused.body.error], [400, 'invalid_client_metadata']);
    assert.equal(refused.body.error_description, 'allowed_cors_origins can only be set by an admin');

    const { body: client } = await register(gatehouse, {}, initial_access_token);
    const { redirect_uris } = client as Record<string, unknown>;
    const put = (more: object, token: string) =>
      send('PUT', client.registration_client_uri, { client_id: client.client_id, redirect_uris, ...more }, token);
    assert.equal((await put(wanted, client.registration_access_token)).status, 400);
    assert.equal((await admin.patch(`/clients/${client.client_id}`, wanted)).status, 200);
    const replaced = await put({ client_name: 'Pages' }, client.registration_access_token);
    assert.equal(replaced.status, 200);
    assert.deepEqual((await admin.get(`/clients/${client.client_id}`)).body['allowed_cors_origins'], [OTHER]);
  });
});
