import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { calculateJwkThumbprint, exportJWK, generateKeyPair, type CryptoKey, type JWK } from 'jose';
import { AccountPatch, NewAccount } from '../../src/accounts/account.ts';
import { ClientMetadataShape } from '../../src/clients/metadata/client_metadata.ts';
import { readDocument } from '../../src/registration/metadata_document.ts';
import { RegistrationPolicy } from '../../src/registration/policy.ts';
import { RegistrationRefused } from '../../src/registration/refusal.ts';
import { CIBA, DEVICE_CODE } from '../../src/clients/metadata/flows.ts';
import { basic, registerApplication } from '../support/client/code_flow.ts';
import { makePolicy, makeToken } from '../support/client/registration.ts';
import { CA, closeOutside, NAME, PUBLIC, startOutside, type Outside } from '../support/network/outside_server.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import type { RegisteredClient } from '../support/node/operator.ts';

type Members = Readonly<Record<string, unknown>>;

/** Converting the first and the last to a string or number throws. */
const OBJECT = { toString: 1, valueOf: 1 };
const VALUES: Readonly<Record<string, unknown>> = {
  'an object': OBJECT,
  'an array': [],
  null: null,
  'a number': 7,
  'a boolean': true,
  'a nested value': [{ a: [OBJECT], toString: OBJECT }],
};

const PARAMETERS = `acr_values claims_locales client_id code_challenge code_challenge_method display id_token_hint
  login_hint max_age nonce prompt redirect_uri registration request request_uri response_mode response_type scope state
  ui_locales claims resource authorization_details`.split(/\s+/);
const OF_ROUTE: Readonly<Record<string, readonly string[]>> = {
  authorize: ['dpop_jkt'],
  par: ['dpop_jkt'],
  backchannel_authentication: [
    'client_notification_token',
    'login_hint_token',
    'binding_message',
    'user_code',
    'request_context',
    'requested_expiry',
  ],
  device_authorization: [],
};
/** Parameters of the browser, which these endpoints do not know. */
const OF_BROWSER = /^(response_type|response_mode|code_challenge|code_challenge_method|state|redirect_uri|prompt)$/;
const CLAIMS = ['iss', 'sub', 'aud', 'exp', 'nbf', 'iat', 'jti'];
const HEADERS = ['alg', 'typ', 'kid', 'crit', 'cty', 'jwk', 'x5c', 'b64'];
const METADATA = [...Object.keys(ClientMetadataShape.shape), 'software_statement', 'software_id', 'logo_uri', 'other'];
const ASSERTION_TYPE = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';

describe('a member of JSON that has another type than it should', () => {
  let gatehouse: Gatehouse;
  let outside: Outside;
  let client: RegisteredClient;
  let signer: RegisteredClient;
  let key: CryptoKey;
  let jwk: JWK;
  const documents = new Map<string, string>();
  before(async () => {
    outside = await startOutside((request, response) => {
      response.writeHead(200, { 'content-type': 'application/json' }).end(documents.get(request.url ?? ''));
    });
    gatehouse = await startGatehouse({
      environment: {
        GATEHOUSE_EGRESS_ALLOW: `https://${NAME}:${outside.port}`,
        GATEHOUSE_TRUSTED_PROXIES: '127.0.0.1/32',
      },
      resolve: async () => [{ address: PUBLIC, family: 4 }],
      ca: CA,
    });
    const pair = await generateKeyPair('ES256', { extractable: true });
    key = pair.privateKey;
    jwk = await exportJWK(pair.publicKey);
    const keys = { jwks: { keys: [{ ...jwk, kid: 'k', alg: 'ES256' }] } };
    const grants = ['authorization_code', 'refresh_token', CIBA, DEVICE_CODE];
    client = await registerApplication(gatehouse, {
      ...keys,
      grant_types: grants,
      backchannel_token_delivery_mode: 'poll',
    });
    signer = await registerApplication(gatehouse, { ...keys, token_endpoint_auth_method: 'private_key_jwt' });
    await makePolicy(gatehouse, { name: 'open', open_registration: true, client_id_metadata_documents: true });
    await makePolicy(gatehouse, { name: 'with-token' });
  });
  after(async () => {
    await gatehouse.stop();
    closeOutside();
  });

  let sent = 0;
  /** From a network of its own: the test is not about limits. */
  const call = async (path: string, init: RequestInit = {}): Promise<{ status: number; text: string }> => {
    sent++;
    const from = `${20 + (sent % 150)}.${(sent >> 4) % 250}.${sent % 250}.1`;
    const headers = { 'x-forwarded-for': from, ...(init.headers as Record<string, string> | undefined) };
    const response = await fetch(gatehouse.url + path, { redirect: 'manual', ...init, headers });
    return { status: response.status, text: (await response.text()) + (response.headers.get('location') ?? '') };
  };
  const form = (path: string, fields: Readonly<Record<string, string>>, headers: Record<string, string> = {}) =>
    call(path, { method: 'POST', body: new URLSearchParams(fields), headers });
  const encoded = (part: object): string => Buffer.from(JSON.stringify(part)).toString('base64url');
  /** Signed over any bytes: the members of the header are checked by nothing here. */
  const jwt = async (header: Members, claims: Members): Promise<string> => {
    const input = `${encoded(header)}.${encoded(claims)}`;
    const signature = await crypto.subtle.sign({ name: 'ECDSA', hash: 'SHA-256' }, key, Buffer.from(input));
    return `${input}.${Buffer.from(signature).toString('base64url')}`;
  };
  const now = (): number => Math.floor(Date.now() / 1000);
  const claimsOf = ({ client_id }: RegisteredClient): Members => ({
    iss: client_id,
    aud: gatehouse.issuer,
    iat: now(),
    nbf: now(),
    exp: now() + 60,
    jti: crypto.randomUUID(),
  });
  const each = async (
    names: readonly string[],
    check: (name: string, value: unknown, what: string) => Promise<void>,
  ): Promise<void> => {
    for (const name of names)
      for (const [what, value] of Object.entries(VALUES)) await check(name, value, `${name} is ${what}`);
  };
  const noFault = ({ status, text }: { status: number; text: string }, what: string): void =>
    assert.ok(status < 500, `${what}: ${status} ${text.slice(0, 300)}`);

  const secret = () => ({ authorization: basic(client.client_id, client.client_secret) });
  const ROUTES: Readonly<Record<string, (request: string) => Promise<{ status: number; text: string }>>> = {
    authorize: (request) => call(`/authorize?${new URLSearchParams({ client_id: client.client_id, request })}`),
    par: (request) => form('/par', { request }, secret()),
    backchannel_authentication: (request) => form('/backchannel_authentication', { request }, secret()),
    device_authorization: (request) => form('/device_authorization', { request }, secret()),
  };
  const accepted = (name: string, value: unknown): boolean =>
    (name === 'claims' && value === OBJECT) ||
    (name === 'authorization_details' && Array.isArray(value)) ||
    (name === 'resource' && Array.isArray(value) && value.length === 0) ||
    (['max_age', 'requested_expiry'].includes(name) && typeof value === 'number');
  for (const [route, send] of Object.entries(ROUTES)) {
    const isOfBrowser = route === 'authorize' || route === 'par';
    const known = PARAMETERS.filter((name) => isOfBrowser || !OF_BROWSER.test(name));
    it(`is refused by name in a request object at /${route} (RFC 9101, 6)`, async () => {
      await each([...known, ...OF_ROUTE[route]!], async (name, value, what) => {
        const claims = { ...claimsOf(client), client_id: client.client_id, scope: 'openid', [name]: value };
        const isSigned = route !== 'authorize' || typeof value === 'number';
        const request = isSigned
          ? await jwt({ alg: 'ES256', kid: 'k' }, claims)
          : `${encoded({ alg: 'none' })}.${encoded(claims)}.`;
        const answer = await send(request);
        noFault(answer, what);
        if (accepted(name, value) || name === 'registration') return;
        assert.equal(answer.status, 400, `${what}: ${answer.text}`);
        // the errors of CIBA have no other name for it (CIBA, 13)
        const error = route === 'backchannel_authentication' ? 'invalid_request' : 'invalid_request_object';
        assert.match(answer.text, new RegExp(`\\b${error}\\b`), what);
        assert.match(answer.text, new RegExp(`\\b${name} must be a string`), what);
      });
    });

    it(`is no fault of the server in a claim or header of a request object at /${route}`, async () => {
      const claims = (): Members => ({ ...claimsOf(client), client_id: client.client_id, scope: 'openid' });
      await each(CLAIMS, async (name, value, what) => {
        noFault(await send(await jwt({ alg: 'ES256', kid: 'k' }, { ...claims(), [name]: value })), what);
      });
      await each(HEADERS, async (name, value, what) => {
        noFault(await send(await jwt({ alg: 'ES256', kid: 'k', [name]: value }, claims())), what);
      });
    });
  }

  it('is no fault of the server in a client assertion', async () => {
    const send = async (header: Members, claims: Members, more: Readonly<Record<string, string>>) => {
      const client_assertion = await jwt({ alg: 'ES256', kid: 'k', ...header }, { ...claims });
      const fields = { client_assertion_type: ASSERTION_TYPE, client_assertion, grant_type: 'refresh_token' };
      return form('/token', { ...fields, refresh_token: 'x', ...more });
    };
    const good = (): Members => ({ ...claimsOf(signer), sub: signer.client_id });
    for (const more of [{}, { client_id: signer.client_id }]) {
      await each(CLAIMS, async (name, value, what) =>
        noFault(await send({}, { ...good(), [name]: value }, more), what),
      );
      await each(HEADERS, async (name, value, what) => noFault(await send({ [name]: value }, good(), more), what));
    }
  });

  it('is no fault of the server in a DPoP proof', async () => {
    const send = async (header: Members, claims: Members, what: string): Promise<void> => {
      const good = { jti: crypto.randomUUID(), htm: 'POST', htu: `${gatehouse.issuer}/token`, iat: now() };
      const dpop = await jwt({ alg: 'ES256', typ: 'dpop+jwt', jwk, ...header }, { ...good, ...claims });
      const fields = { grant_type: 'refresh_token', refresh_token: 'x' };
      noFault(await form('/token', fields, { ...secret(), dpop }), what);
      noFault(await call('/userinfo', { headers: { dpop, authorization: 'DPoP a.b.c' } }), what);
    };
    await each(['jti', 'htm', 'htu', 'iat', 'nonce', 'ath'], (name, value, what) => send({}, { [name]: value }, what));
    await each(HEADERS, (name, value, what) => send({ [name]: value }, {}, what));
    await each(['kty', 'crv', 'x', 'y', 'alg', 'use', 'key_ops', 'ext'], (name, value, what) =>
      send({ jwk: { ...jwk, [name]: value } }, {}, `jwk.${what}`),
    );
  });

  it('is no fault of the server in an ID token that a request presents as a hint', async () => {
    const kid = await calculateJwkThumbprint(jwk);
    const good = { ...claimsOf(client), iss: gatehouse.issuer, aud: client.client_id, sub: 'x' };
    const send = async (header: Members, claims: Members, what: string): Promise<void> => {
      const id_token_hint = await jwt({ alg: 'ES256', kid, ...header }, { ...good, ...claims });
      noFault(await call(`/logout?${new URLSearchParams({ id_token_hint })}`), what);
      const query = { client_id: client.client_id, response_type: 'code', scope: 'openid', id_token_hint };
      noFault(await call(`/authorize?${new URLSearchParams(query)}`), what);
      noFault(await form('/backchannel_authentication', { scope: 'openid', id_token_hint }, secret()), what);
    };
    await each([...CLAIMS, 'sid', 'nonce', 'azp'], (name, value, what) => send({}, { [name]: value }, what));
    await each(HEADERS, (name, value, what) => send({ [name]: value }, {}, what));
  });

  it('is no fault of the server at introspection, revocation and userinfo', async () => {
    const good = { ...claimsOf(client), iss: gatehouse.issuer, aud: 'https://api.example.com', sub: 'x', scope: 'a' };
    const send = async (header: Members, claims: Members, what: string): Promise<void> => {
      const token = await jwt({ alg: 'ES256', typ: 'at+jwt', kid: 'k', ...header }, { ...good, ...claims });
      noFault(await form('/introspect', { token }, secret()), what);
      noFault(await form('/revoke', { token }, secret()), what);
      noFault(await call('/userinfo', { headers: { authorization: `Bearer ${token}` } }), what);
      noFault(await call('/admin/v1/clients', { headers: { authorization: `Bearer ${token}` } }), what);
    };
    await each([...CLAIMS, 'cnf', 'client_id', 'scope'], (name, value, what) => send({}, { [name]: value }, what));
    await each(HEADERS, (name, value, what) => send({ [name]: value }, {}, what));
  });

  const KEYS: readonly unknown[] = [
    { keys: OBJECT },
    { keys: [OBJECT] },
    { keys: [{ kty: OBJECT, crv: 'P-256' }] },
    { keys: [{ kty: 'EC', crv: OBJECT, x: OBJECT, y: [] }] },
    { keys: [{ kty: 'RSA', n: OBJECT, e: OBJECT }] },
  ];
  const metadata = (): readonly (readonly [what: string, members: Members])[] => [
    ...METADATA.flatMap((name) =>
      Object.entries(VALUES).map(([what, value]) => [`${name} is ${what}`, { [name]: value }] as const),
    ),
    ...METADATA.map((name) => [`${name} is an array of objects`, { [name]: [OBJECT] }] as const),
    ...KEYS.map((jwks) => [`jwks is ${JSON.stringify(jwks)}`, { jwks }] as const),
  ];

  it('is no fault of the server in a registration', async () => {
    const { initial_access_token: token } = await makeToken(gatehouse, 'with-token', { uses: 1_000 });
    const headers = { 'content-type': 'application/json' };
    for (const [index, [what, members]] of metadata().entries()) {
      const body = JSON.stringify({ redirect_uris: ['https://app.example.com/cb'], ...members });
      const authorization = index % 2 === 0 ? {} : { authorization: `Bearer ${token}` };
      const answer = await call('/register', { method: 'POST', headers: { ...headers, ...authorization }, body });
      noFault(answer, what);
      if (answer.status !== 201) assert.match(answer.text, /"error":"invalid_/, what);
    }
    const one = await call('/register', { method: 'POST', headers, body: '{"redirect_uris":[{"toString":1}]}' });
    assert.equal(one.status, 400);
    assert.match(one.text, /invalid_redirect_uri.*redirect_uris\/0 must be a string/);
  });

  it('is no fault of the server in an update of a registration', async () => {
    const headers = { 'content-type': 'application/json' };
    const made = await call('/register', {
      method: 'POST',
      headers,
      body: '{"redirect_uris":["https://app.example.com/cb"]}',
    });
    const { client_id, registration_access_token } = JSON.parse(made.text) as Readonly<Record<string, string>>;
    const authorization = `Bearer ${registration_access_token}`;
    await each(['client_id', 'client_secret', 'software_statement', 'redirect_uris'], async (name, value, what) => {
      // the token is good until an update succeeds, which none of these may
      const body = JSON.stringify({ client_id, redirect_uris: [OBJECT], [name]: value });
      const answer = await call(`/register/${client_id}`, {
        method: 'PUT',
        headers: { ...headers, authorization },
        body,
      });
      assert.equal(answer.status, 400, `${what}: ${answer.text}`);
    });
  });

  it('is no fault of the server in a client id metadata document', async () => {
    const policy = RegistrationPolicy.parse({ name: 'any', client_id_metadata_documents: true });
    let number = 0;
    for (const [what, members] of metadata()) {
      const path = `/${++number}.json`;
      const client_id = `https://${NAME}:${outside.port}${path}`;
      const document = { client_id, redirect_uris: [`https://${NAME}/cb`], token_endpoint_auth_method: 'none' };
      const body = JSON.stringify({ ...document, ...members });
      try {
        readDocument(policy, client_id, { contentType: 'application/json', body: Buffer.from(body) });
      } catch (error) {
        assert.ok(error instanceof RegistrationRefused, `${what}: ${String(error)}`);
      }
      // the whole way takes time, so one value of each member goes it
      if (!/ an object$|objects$|^jwks/.test(what)) continue;
      documents.set(path, body);
      const query = { client_id, redirect_uri: `https://${NAME}/cb`, response_type: 'code', scope: 'openid' };
      const answer = await call(`/authorize?${new URLSearchParams(query)}`);
      noFault(answer, what);
      assert.doesNotMatch(answer.text, /try again later|can not be fetched/, what);
    }
    assert.ok(outside.requests.length >= documents.size, 'the server has read them all');
  });

  it('is no fault of the server in a body of the admin API', async () => {
    const post = async (method: string, path: string, body: unknown, what: string): Promise<void> => {
      const answer = await gatehouse.adminCall(method, path, body);
      noFault({ status: answer.status, text: await answer.text() }, what);
    };
    for (const [what, members] of metadata()) {
      await post('POST', '/clients', { client_name: 'x', redirect_uris: ['https://a.example/cb'], ...members }, what);
    }
    const accounts = new Set([...Object.keys(NewAccount.shape), ...Object.keys(AccountPatch.shape)]);
    await each([...accounts], (name, value, what) =>
      post('POST', '/accounts', { email: `a${++sent}@example.com`, [name]: value }, what),
    );
    await each(['resource', 'identifier', 'name', 'scopes', 'signing_alg'], (name, value, what) =>
      post('POST', '/resources', { resource: `https://r${++sent}.example`, scopes: [], [name]: value }, what),
    );
  });
});
