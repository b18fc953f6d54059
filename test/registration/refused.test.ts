import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { exportJWK, generateKeyPair } from 'jose';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { registerResource } from '../support/node/operator.ts';
import {
  auditEvents,
  changePolicy,
  makePolicy,
  makeToken,
  REDIRECT,
  register,
  type Json,
} from '../support/client/registration.ts';

const PUBLIC_KEY = { kty: 'OKP', crv: 'Ed25519', x: '11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo' };

/** What no client may register: the policy of these tests is as open as possible. */
const REFUSED: readonly (readonly [threat: string, error: string, metadata: Json])[] = [
  [
    'a wildcard in a redirect URI (CVE-2026-3872)',
    'invalid_redirect_uri',
    { redirect_uris: ['https://*.example.com/cb'] },
  ],
  ['a javascript: redirect URI (DCR-02)', 'invalid_redirect_uri', { redirect_uris: ['javascript:alert(1)'] }],
  ['a data: redirect URI', 'invalid_redirect_uri', { redirect_uris: ['data:text/html,x'] }],
  ['plain http on a public host (DCR-04)', 'invalid_redirect_uri', { redirect_uris: ['http://rp.example.test/cb'] }],
  [
    'a fragment in a redirect URI (oidcc-redirect-uri-regfrag)',
    'invalid_redirect_uri',
    { redirect_uris: [`${REDIRECT}#x`] },
  ],
  ['redirect_uris that is not a list (DCR-06)', 'invalid_redirect_uri', { redirect_uris: REDIRECT }],
  ['no redirect URI for the code flow', 'invalid_redirect_uri', { redirect_uris: [] }],
  [
    'user information in a redirect URI',
    'invalid_redirect_uri',
    { redirect_uris: ['https://app.example.com@evil.example/cb'] },
  ],
  ['dot segments in a redirect URI', 'invalid_redirect_uri', { redirect_uris: ['https://app.example.com/a/../cb'] }],
  [
    'a private key in jwks (DCR-08)',
    'invalid_client_metadata',
    {
      token_endpoint_auth_method: 'private_key_jwt',
      jwks: { keys: [{ ...PUBLIC_KEY, d: 'nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A' }] },
    },
  ],
  [
    'jwks beside jwks_uri',
    'invalid_client_metadata',
    {
      token_endpoint_auth_method: 'private_key_jwt',
      jwks: { keys: [PUBLIC_KEY] },
      jwks_uri: 'https://app.example.com/jwks',
    },
  ],
  ['the implicit flow (DCR-10)', 'invalid_client_metadata', { response_types: ['token'], grant_types: ['implicit'] }],
  ['the hybrid flow', 'invalid_client_metadata', { response_types: ['code id_token'] }],
  [
    'client credentials without authentication (DCR-12)',
    'invalid_client_metadata',
    {
      redirect_uris: [],
      grant_types: ['client_credentials'],
      response_types: [],
      token_endpoint_auth_method: 'none',
    },
  ],
  ['the password grant', 'invalid_client_metadata', { grant_types: ['password'] }],
  ['a javascript: website (DCR-14)', 'invalid_client_metadata', { client_uri: 'javascript:alert(1)' }],
  ['a plain http policy page', 'invalid_client_metadata', { policy_uri: 'http://app.example.com/policy' }],
  [
    'a plain http jwks_uri, also on loopback',
    'invalid_client_metadata',
    {
      token_endpoint_auth_method: 'private_key_jwt',
      jwks_uri: 'http://127.0.0.1:9000/jwks',
    },
  ],
  [
    'a logout address in plain http, also on loopback, where a service of the operator’s may listen (CVE-2026-1180)',
    'invalid_client_metadata',
    { backchannel_logout_uri: 'http://127.0.0.1:9000/internal' },
  ],
  [
    'a sector in plain http, also on loopback',
    'invalid_client_metadata',
    { subject_type: 'pairwise', sector_identifier_uri: 'http://127.0.0.1:9000/internal' },
  ],
  ['signing with a secret', 'invalid_client_metadata', { id_token_signed_response_alg: 'HS256' }],
  ['no signature at all', 'invalid_client_metadata', { id_token_signed_response_alg: 'none' }],
  [
    'authentication with client_secret_jwt',
    'invalid_client_metadata',
    { token_endpoint_auth_method: 'client_secret_jwt' },
  ],
  ['a name of control characters', 'invalid_client_metadata', { client_name: 'Your bank\u202e' }],
  ['an invisible name', 'invalid_client_metadata', { client_name: '\u3164' }],
  ['a name of two lines', 'invalid_client_metadata', { client_name: 'Your bank\u2028is asking' }],
  [
    'resources of its own choice (CVE-2026-41427)',
    'invalid_client_metadata',
    {
      resources: [{ resource: 'https://api.example.com', scopes: ['admin'] }],
    },
  ],
  ['the right to introspect (CVE-2026-41427)', 'invalid_client_metadata', { introspects: ['https://api.example.com'] }],
  ['a rotation deadline of its own', 'invalid_client_metadata', { secret_rotation_days: 365 }],
];

describe('registration refuses', () => {
  let gatehouse: Gatehouse;
  let token: string;
  before(async () => {
    gatehouse = await startGatehouse();
    await makePolicy(gatehouse, {
      name: 'wide',
      grant_types: ['authorization_code', 'refresh_token', 'client_credentials'],
    });
    token = (await makeToken(gatehouse, 'wide', { uses: 100 })).initial_access_token;
  });
  after(() => gatehouse.stop());

  for (const [threat, error, metadata] of REFUSED) {
    it(threat, async () => {
      const { status, body } = await register(gatehouse, metadata, token);
      assert.equal(status, 400);
      assert.equal(body.error, error, body.error_description);
      assert.match(body.error_description ?? '', /^[a-z_]+(\/\S+)? /, 'it names the member');
      assert.equal('client_id' in body, false);
    });
  }

  it('and leaves the reason in the trail, and the token as it was', async () => {
    const before_ = await usesLeft();
    await register(gatehouse, { redirect_uris: ['javascript:alert(1)'] }, token);
    assert.equal(await usesLeft(), before_);
    const events = await auditEvents(gatehouse, 'registration.refused');
    const reasons = events.map((event) => (event['details'] as { reason: string }).reason);
    assert.equal(
      reasons.some((reason) => reason.startsWith('redirect_uris/0 must not use the scheme javascript')),
      true,
    );
  });

  it('a client id and a secret of the client’s own choice, by giving others (DCR-17)', async () => {
    const chosen = {
      client_id: 'web',
      client_secret: 'chosen',
      client_id_issued_at: 1,
      registration_access_token: 'x',
    };
    const { status, body } = await register(gatehouse, chosen, token);
    assert.equal(status, 201);
    assert.match(body.client_id, /^client_/);
    assert.match(body.client_secret ?? '', /^gatehouse_secret_/);
    assert.match(body.registration_access_token, /^gatehouse_registration_/);
    assert.notEqual(body['client_id_issued_at'], 1);
  });

  it('nothing for members that it does not know (RFC 7591, 2)', async () => {
    const unknown = { example_extension: true, 'client_name#ja': '例', request_uris: ['https://app.example.com/r'] };
    const { status, body } = await register(gatehouse, unknown, token);
    assert.equal(status, 201);
    for (const member of Object.keys(unknown)) assert.equal(member in body, false, member);
  });

  it('scopes of the admin API, in any request (CVE-2026-41427)', async () => {
    const { body } = await register(gatehouse, { scope: 'openid clients:write admin' }, token);
    assert.equal(body['scope'], 'openid profile email offline_access');
    const resources = [{ resource: gatehouse.admin.resource, scopes: ['clients:write'] }];
    const made = await gatehouse.adminCall('POST', '/registration-policies', { name: 'admins', resources });
    assert.equal(made.status, 400);
    const patched = await gatehouse.adminCall('PATCH', '/registration-policies/wide', { resources });
    assert.equal(patched.status, 400);
    const client = (await (await gatehouse.adminCall('GET', `/clients/${body.client_id}`)).json()) as Json;
    assert.deepEqual(client['resources'], []);
  });

  it('hosts and schemes that the policy does not name', async () => {
    await makePolicy(gatehouse, {
      name: 'narrow',
      redirect_uri_hosts: ['app.example.com', '*.partner.example'],
      redirect_uri_schemes: ['https'],
      token_endpoint_auth_methods: ['private_key_jwt'],
    });
    const narrow = (await makeToken(gatehouse, 'narrow', { uses: 10 })).initial_access_token;
    const { publicKey } = await generateKeyPair('ES256');
    const keys = { jwks: { keys: [{ ...(await exportJWK(publicKey)), alg: 'ES256' }] } };
    const attempt = async (uri: string, more: Json = {}): Promise<string | undefined> =>
      (await register(gatehouse, { redirect_uris: [uri], ...keys, ...more }, narrow)).body.error;
    assert.equal(await attempt('https://app.example.com/cb'), undefined);
    assert.equal(await attempt('https://billing.partner.example/cb'), undefined);
    for (const uri of [
      'https://evil.example/cb',
      'https://partner.example/cb',
      'https://app.example.com.evil.example/cb',
      'https://evilpartner.example/cb',
      'http://127.0.0.1/cb',
      'com.example.app:/cb',
    ]) {
      assert.equal(await attempt(uri), 'invalid_redirect_uri', uri);
    }
    const none = { token_endpoint_auth_method: 'none' };
    assert.equal(await attempt('https://app.example.com/cb', none), 'invalid_client_metadata');
    const device = { grant_types: ['urn:ietf:params:oauth:grant-type:device_code'] };
    assert.equal(await attempt('https://app.example.com/cb', device), 'invalid_client_metadata');
  });

  it('more clients than the policy allows, also when they come at once', async () => {
    await makePolicy(gatehouse, { name: 'few', clients_at_most: 3 });
    const few = (await makeToken(gatehouse, 'few', { uses: 100 })).initial_access_token;
    const answers = await Promise.all(Array.from({ length: 10 }, () => register(gatehouse, {}, few)));
    const statuses = answers.map(({ status }) => status).toSorted((a, b) => a - b);
    assert.deepEqual(statuses, [201, 201, 201, 403, 403, 403, 403, 403, 403, 403]);
    assert.equal(answers.find(({ status }) => status === 403)?.body.error, 'access_denied');
  });

  it('client credentials where registration is open, already when the policy is made', async () => {
    const policy = { name: 'reckless', open_registration: true, grant_types: ['client_credentials'] };
    assert.equal((await gatehouse.adminCall('POST', '/registration-policies', policy)).status, 400);
    await makePolicy(gatehouse, { name: 'open', open_registration: true });
    const second = await gatehouse.adminCall('POST', '/registration-policies', {
      ...policy,
      grant_types: ['authorization_code'],
    });
    assert.equal(second.status, 409, 'one policy is open, and no other');
    await changePolicy(gatehouse, 'open', { open_registration: false });
  });

  it('a policy for a resource that isn’t there, and to delete a resource that a policy gives', async () => {
    const gone = [{ resource: 'https://gone.example', scopes: ['x'] }];
    assert.equal(
      (await gatehouse.adminCall('POST', '/registration-policies', { name: 'gone', resources: gone })).status,
      400,
    );
    const { resource, scopes } = await registerResource(gatehouse, 'kept');
    await makePolicy(gatehouse, { name: 'keeper', resources: [{ resource, scopes }] });
    const { items } = (await (await gatehouse.adminCall('GET', '/clients?limit=200')).json()) as { items: Json[] };
    for (const client of items) {
      const given = client['resources'] as { resource: string }[];
      if (given.some((one) => one.resource === resource))
        await gatehouse.adminCall('PATCH', `/clients/${String(client['client_id'])}`, { resources: [] });
    }
    const path = `/resources/${encodeURIComponent(resource)}`;
    assert.equal((await gatehouse.adminCall('DELETE', path)).status, 409);
    await gatehouse.adminCall('DELETE', '/registration-policies/keeper');
    assert.equal((await gatehouse.adminCall('DELETE', path)).status, 204);
  });

  async function usesLeft(): Promise<number> {
    const { items } = (await (await gatehouse.adminCall('GET', '/initial-access-tokens?policy=wide')).json()) as {
      items: { uses_left: number }[];
    };
    return items[0]!.uses_left;
  }
});
