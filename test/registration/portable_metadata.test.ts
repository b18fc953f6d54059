import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { authorizationRequest, send as sendRequest } from '../support/client/authorization_request.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { CA, closeOutside, NAME, PUBLIC, startOutside, type Outside } from '../support/network/outside_server.ts';
import {
  changePolicy,
  makePolicy,
  makeToken,
  REDIRECT,
  register,
  send,
  type Json,
  type RegistrationAnswer,
} from '../support/client/registration.ts';

const DEVICE_CODE = 'urn:ietf:params:oauth:grant-type:device_code';
const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
const CIBA = 'urn:openid:params:grant-type:ciba';
const PUBLIC_KEY = { kty: 'OKP', crv: 'Ed25519', x: '11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo' };
const CODE_AND_REFRESH = ['authorization_code', 'refresh_token'];

/** Metadata with the members of well-known MCP clients: an assistant, an editor and a chat program. */
const SHAPES: readonly (readonly [what: string, metadata: Json, grantTypes: readonly string[]])[] = [
  [
    'an assistant that names the jwt-bearer grant and does not authenticate',
    {
      client_name: 'Assistant',
      client_uri: 'https://assistant.example',
      redirect_uris: ['http://localhost/callback', 'http://127.0.0.1/callback'],
      grant_types: [...CODE_AND_REFRESH, JWT_BEARER],
      response_types: ['code'],
      token_endpoint_auth_method: 'none',
    },
    CODE_AND_REFRESH,
  ],
  [
    'an editor that names the device flow, with redirect URIs on its host and on loopback addresses',
    {
      client_name: 'Editor',
      client_uri: 'https://editor.example',
      grant_types: [...CODE_AND_REFRESH, DEVICE_CODE],
      response_types: ['code'],
      redirect_uris: [`https://${NAME}/redirect`, 'http://127.0.0.1/', 'http://127.0.0.1:33418/'],
      token_endpoint_auth_method: 'none',
    },
    CODE_AND_REFRESH,
  ],
  [
    'a chat program that signs its assertions and names an extension',
    {
      client_name: 'Chat',
      redirect_uris: [`https://${NAME}/connector/callback`],
      grant_types: CODE_AND_REFRESH,
      response_types: ['code'],
      token_endpoint_auth_method: 'private_key_jwt',
      token_endpoint_auth_signing_alg: 'EdDSA',
      jwks: { keys: [PUBLIC_KEY] },
      example_extension: { any: 'thing' },
    },
    CODE_AND_REFRESH,
  ],
];

describe('metadata that a client registers at every server, with the profile mcp', () => {
  let gatehouse: Gatehouse;
  let outside: Outside;
  const documents = new Map<string, Json>();
  const publish = (path: string, members: Json): string => {
    const clientId = `https://${NAME}:${outside.port}${path}`;
    documents.set(path, { client_id: clientId, ...members });
    return clientId;
  };
  const ask = async (clientId: string, redirectUri: unknown): Promise<Response> =>
    sendRequest(gatehouse, authorizationRequest({ client_id: clientId }, { redirect_uri: String(redirectUri) }));
  before(async () => {
    outside = await startOutside((request, response) => {
      const document = documents.get(request.url ?? '');
      response.writeHead(document ? 200 : 404, { 'content-type': 'application/json' }).end(JSON.stringify(document));
    });
    gatehouse = await startGatehouse({
      environment: { GATEHOUSE_PROFILE: 'mcp', GATEHOUSE_EGRESS_ALLOW: `https://${NAME}:${outside.port}` },
      resolve: async () => [{ address: PUBLIC, family: 4 }],
      ca: CA,
    });
  });
  after(async () => {
    await gatehouse.stop();
    closeOutside();
  });

  for (const [index, [what, metadata, grantTypes]] of SHAPES.entries()) {
    it(`lets ${what} register, and the answer shows what it got (FIELD-C3)`, async () => {
      const { status, body } = await register(gatehouse, metadata);
      assert.equal(status, 201, body.error_description);
      assert.deepEqual(body['grant_types'], grantTypes);
      assert.deepEqual(body['redirect_uris'], metadata['redirect_uris']);
      assert.equal(body['token_endpoint_auth_method'], metadata['token_endpoint_auth_method']);
    });

    it(`lets ${what} be known by its document (FIELD-C3)`, async () => {
      const clientId = publish(`/shape-${index}.json`, metadata);
      const [redirectUri] = metadata['redirect_uris'] as string[];
      const response = await ask(clientId, redirectUri);
      assert.equal(response.status, 303, await response.text());
      const shown = await gatehouse.adminCall('GET', `/clients/${encodeURIComponent(clientId)}`);
      const client = (await shown.json()) as Json;
      assert.deepEqual(client['grant_types'], grantTypes);
      assert.deepEqual(client['redirect_uris'], metadata['redirect_uris']);
    });
  }

  it('is accepted with each authentication method that discovery names and that needs no certificate (FIELD-C3)', async () => {
    const discovered = await fetch(`${gatehouse.url}/.well-known/oauth-authorization-server`);
    const named = ((await discovered.json()) as Json)['token_endpoint_auth_methods_supported'] as string[];
    assert.equal(named.includes('client_secret_basic'), true);
    for (const method of named.filter((name) => !name.includes('tls'))) {
      const keys = method === 'private_key_jwt' ? { jwks: { keys: [PUBLIC_KEY] } } : {};
      const { status, body } = await register(gatehouse, { token_endpoint_auth_method: method, ...keys });
      assert.equal(status, 201, `${method}: ${body.error_description}`);
      assert.equal(body['token_endpoint_auth_method'], method);
      assert.equal('client_secret' in body, method.startsWith('client_secret_'), method);
    }
  });

  it('keeps a document from naming a redirect URI of a foreign host, unless the policy names the host (FIELD-C3)', async () => {
    const foreign = 'https://other.example/callback';
    const clientId = publish('/foreign.json', {
      client_name: 'Two hosts',
      redirect_uris: [`https://${NAME}/callback`, foreign],
      token_endpoint_auth_method: 'none',
    });
    const refused = await ask(clientId, foreign);
    assert.equal(refused.status, 400);
    assert.match(await refused.text(), /redirect_uris\/1 must have a host that the registration policy permits/);
    await changePolicy(gatehouse, 'mcp', { redirect_uri_hosts: [NAME, 'other.example'] });
    assert.equal((await ask(clientId, foreign)).status, 303);
    await changePolicy(gatehouse, 'mcp', { redirect_uri_hosts: null });
  });

  it('keeps a document from authenticating with a method that the policy excludes (FIELD-C3)', async () => {
    await changePolicy(gatehouse, 'mcp', { token_endpoint_auth_methods: ['none'] });
    const clientId = publish('/signed.json', {
      redirect_uris: [`https://${NAME}/callback`],
      token_endpoint_auth_method: 'private_key_jwt',
      jwks: { keys: [PUBLIC_KEY] },
    });
    const refused = await ask(clientId, `https://${NAME}/callback`);
    assert.equal(refused.status, 400);
    assert.match(await refused.text(), /token_endpoint_auth_method must be none/);
    const methods = ['none', 'private_key_jwt', 'client_secret_basic', 'client_secret_post'];
    await changePolicy(gatehouse, 'mcp', { token_endpoint_auth_methods: methods });
  });
});

describe('what a registration asks for beyond its policy', () => {
  let gatehouse: Gatehouse;
  let token: string;
  let publicToken: string;
  before(async () => {
    gatehouse = await startGatehouse();
    const grantTypes = [...CODE_AND_REFRESH, 'client_credentials', JWT_BEARER];
    await makePolicy(gatehouse, { name: 'partners', grant_types: grantTypes });
    await makePolicy(gatehouse, { name: 'public', token_endpoint_auth_methods: ['none'] });
    token = (await makeToken(gatehouse, 'partners', { uses: 100 })).initial_access_token;
    publicToken = (await makeToken(gatehouse, 'public', { uses: 100 })).initial_access_token;
  });
  after(() => gatehouse.stop());

  const put = (client: RegistrationAnswer['body'], metadata: Json): Promise<RegistrationAnswer> =>
    send(
      'PUT',
      client.registration_client_uri,
      { client_id: client.client_id, redirect_uris: [REDIRECT], ...metadata },
      client.registration_access_token,
    );

  it('is left out of its lists, at registration and at an update (FIELD-C3)', async () => {
    const asked = {
      grant_types: [...CODE_AND_REFRESH, CIBA, 'implicit', 'authorization_code', DEVICE_CODE],
      response_types: ['code', 'token', 'code id_token'],
      scope: 'openid email admin:everything',
      // it goes with the grant type that is left out
      backchannel_token_delivery_mode: 'poll',
    };
    const { status, body } = await register(gatehouse, asked, token);
    assert.equal(status, 201, body.error_description);
    const updated = await put(body, asked);
    assert.equal(updated.status, 200, updated.body.error_description);
    for (const answer of [body, updated.body]) {
      assert.deepEqual(answer['grant_types'], CODE_AND_REFRESH);
      assert.deepEqual(answer['response_types'], ['code']);
      assert.equal(String(answer['scope']).includes('admin'), false);
      assert.equal('backchannel_token_delivery_mode' in answer, false);
    }
  });

  it('is left out if it requires authentication and the client does not authenticate (FIELD-C3)', async () => {
    const grantTypes = [...CODE_AND_REFRESH, JWT_BEARER, 'client_credentials'];
    const asked = { grant_types: grantTypes, token_endpoint_auth_method: 'none' };
    const { status, body } = await register(gatehouse, asked, token);
    assert.equal(status, 201, body.error_description);
    assert.deepEqual(body['grant_types'], CODE_AND_REFRESH);
    const confidential = await register(gatehouse, { grant_types: grantTypes }, token);
    assert.deepEqual(confidential.body['grant_types'], grantTypes);
  });

  const REFUSED: readonly (readonly [what: string, metadata: Json, says: RegExp])[] = [
    ['no grant type is left', { grant_types: [CIBA, 'password'] }, /^grant_types must contain at least one of auth/],
    ['only refresh_token is left', { grant_types: [DEVICE_CODE, 'refresh_token'] }, /^grant_types must contain/],
    ['no grant type is named', { grant_types: [] }, /^grant_types must contain at least one of/],
    ['a grant type is no text', { grant_types: ['authorization_code', 7] }, /^grant_types\/1 /],
    ['the list is endless', { grant_types: Array.from({ length: 101 }, (_, i) => `g${i}`) }, /^grant_types/],
    ['no response type is left', { response_types: ['token'] }, /^response_types must contain/],
    [
      'a redirect URI is not allowed',
      { redirect_uris: [REDIRECT, 'http://app.example.com/cb'] },
      /^redirect_uris\/1 must use https/,
    ],
    ['a key is no key', { jwks: { keys: [PUBLIC_KEY, { kty: 'oct', k: 'AAAA' }] } }, /^jwks\/keys\/1/],
    ['a method is not in the policy', { token_endpoint_auth_method: 'tls_client_auth' }, /^t/],
    ['a demand can’t be met', { request_object_signing_alg: 'HS256' }, /^request_object_signing_alg must be/],
  ];
  for (const [what, metadata, says] of REFUSED) {
    it(`is refused with the reason where ${what}, at registration and at an update (FIELD-C3)`, async () => {
      const { body: client } = await register(gatehouse, {}, token);
      for (const answer of [await register(gatehouse, metadata, token), await put(client, metadata)]) {
        assert.equal(answer.status, 400);
        assert.match(answer.body.error_description ?? '', says);
      }
    });
  }

  it('is refused with what to change where the policy has no grant type for its method (FIELD-C3)', async () => {
    await makePolicy(gatehouse, { name: 'machines', grant_types: ['client_credentials'] });
    const { initial_access_token: machines } = await makeToken(gatehouse, 'machines', { uses: 2 });
    const asked = { grant_types: CODE_AND_REFRESH, token_endpoint_auth_method: 'none' };
    const refused = await register(gatehouse, asked, machines);
    assert.equal(refused.status, 400);
    assert.equal(
      refused.body.error_description,
      'token_endpoint_auth_method must not be none: the registration policy permits only grant types of clients that authenticate',
    );
    await makePolicy(gatehouse, { name: 'none', grant_types: ['refresh_token'] });
    const { initial_access_token: none } = await makeToken(gatehouse, 'none', { uses: 2 });
    const { body } = await register(gatehouse, { grant_types: CODE_AND_REFRESH }, none);
    assert.equal(
      body.error_description,
      'grant_types can not be met: the registration policy permits none that issues a token',
    );
  });

  it('is refused for its method before the other members are read (FIELD-C3)', async () => {
    const tls_client_auth_subject_dn = 'CN=a,'.repeat(12_000);
    const { status, body } = await register(
      gatehouse,
      { token_endpoint_auth_method: 'tls_client_auth', tls_client_auth_subject_dn },
      token,
    );
    assert.equal(status, 400);
    assert.match(body.error_description ?? '', /^token_endpoint_auth_method must be/);
  });

  it('makes a client public only under a policy for public clients alone (FIELD-C3)', async () => {
    const asked = { token_endpoint_auth_method: 'client_secret_basic' };
    const { status, body } = await register(gatehouse, asked, publicToken);
    assert.equal(status, 201, body.error_description);
    assert.equal(body['token_endpoint_auth_method'], 'none');
    assert.equal('client_secret' in body, false);
    await makePolicy(gatehouse, { name: 'signed', token_endpoint_auth_methods: ['none', 'private_key_jwt'] });
    const { initial_access_token: signed } = await makeToken(gatehouse, 'signed', { uses: 2 });
    const refused = await register(gatehouse, asked, signed);
    assert.equal(refused.status, 400);
    assert.equal(refused.body.error_description, 'token_endpoint_auth_method must be none or private_key_jwt');
  });
});
