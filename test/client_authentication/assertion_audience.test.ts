import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import { exportJWK, generateKeyPair, SignJWT, type CryptoKey, type JWK } from 'jose';
import * as openid from 'openid-client';
import { CIBA } from '../../src/clients/metadata/flows.ts';
import { Admin } from '../support/client/admin.ts';
import { configure, REDIRECT_URI } from '../support/client/code_flow.ts';
import { Fapi2Client } from '../support/client/fapi2.ts';
import { CHALLENGE } from '../support/client/pushed_requests.ts';
import { auditEvents, makePolicy, makeToken, register, send, type Json } from '../support/client/registration.ts';
import { postForm, startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { registerClient, type RegisteredClient } from '../support/node/operator.ts';

const ENDPOINTS = { assertion_audience: 'endpoints' };
const WARNING =
  'This client may name an endpoint as the audience of its assertions, so another server may misuse one here.';
/** Where an alias of each endpoint is. */
const ALIASES = 'https://mtls.id.example.com';

interface Refusal {
  readonly status: number;
  readonly error: string | undefined;
  readonly error_description: string | undefined;
}

describe('the audience of client assertions', () => {
  let gatehouse: Gatehouse;
  let admin: Admin;
  let key: CryptoKey;
  let jwk: JWK;
  let usual: RegisteredClient;
  let eased: RegisteredClient;
  before(async () => {
    gatehouse = await startGatehouse({
      environment: {
        GATEHOUSE_MTLS_URL: ALIASES,
        GATEHOUSE_CLIENT_CERTIFICATE_HEADER: 'client-cert',
        GATEHOUSE_TRUSTED_PROXIES: '127.0.0.1',
      },
    });
    admin = await Admin.of(gatehouse);
    const { privateKey, publicKey } = await generateKeyPair('ES256', { extractable: true });
    key = privateKey;
    jwk = await exportJWK(publicKey);
    usual = await signing();
    eased = await signing(ENDPOINTS);
  });
  after(() => gatehouse.stop());

  /** A client that may call each endpoint where clients authenticate. */
  const signing = (metadata: Json = {}): Promise<RegisteredClient> =>
    registerClient(gatehouse, {
      grant_types: ['authorization_code', 'client_credentials', CIBA],
      redirect_uris: [REDIRECT_URI],
      backchannel_token_delivery_mode: 'poll',
      token_endpoint_auth_method: 'private_key_jwt',
      jwks: { keys: [jwk] },
      ...metadata,
    });
  const at = (path: string): string => `${gatehouse.issuer}${path}`;
  const assertionFor = (aud: unknown, { client_id }: Pick<RegisteredClient, 'client_id'>): Promise<string> =>
    new SignJWT({ aud: aud as string, jti: randomUUID() })
      .setProtectedHeader({ alg: 'ES256' })
      .setIssuer(client_id)
      .setSubject(client_id)
      .setIssuedAt()
      .setExpirationTime('1 min')
      .sign(key);
  const forms: Readonly<Record<string, Readonly<Record<string, string>>>> = {
    '/token': { grant_type: 'client_credentials' },
    '/introspect': { token: 'unknown' },
    '/revoke': { token: 'unknown' },
    '/par': {
      response_type: 'code',
      redirect_uri: REDIRECT_URI,
      scope: 'openid',
      code_challenge: CHALLENGE,
      code_challenge_method: 'S256',
    },
    '/backchannel_authentication': { scope: 'openid', login_hint: 'person@nowhere.example' },
  };
  const call = async (path: string, aud: unknown, who: Pick<RegisteredClient, 'client_id'>): Promise<Refusal> => {
    const response = await postForm(`${gatehouse.url}${path}`, {
      client_id: who.client_id,
      ...forms[path],
      client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
      client_assertion: await assertionFor(aud, who),
    });
    const text = await response.text();
    const { error, error_description } = (text === '' ? {} : JSON.parse(text)) as Partial<Refusal>;
    return { status: response.status, error, error_description };
  };
  const takes = async (path: string, aud: unknown, who: Pick<RegisteredClient, 'client_id'>): Promise<void> => {
    const { error, error_description } = await call(path, aud, who);
    // no person has this address: the client has authenticated all the same
    const expected = path === '/backchannel_authentication' ? 'unknown_user_id' : undefined;
    assert.equal(error, expected, `${path} with ${JSON.stringify(aud)}: ${error_description}`);
  };
  const refuses = async (
    path: string,
    aud: unknown,
    who: Pick<RegisteredClient, 'client_id'>,
    description = /./,
  ): Promise<void> => {
    const { status, error, error_description } = await call(path, aud, who);
    assert.deepEqual([status, error], [401, 'invalid_client'], `${path} with ${JSON.stringify(aud)}`);
    assert.match(error_description!, description);
    // RFC 6749, 5.2
    assert.match(error_description!, /^[\x20-\x21\x23-\x5b\x5d-\x7e]+$/);
  };

  it('is the issuer alone by default, and the error says what is wrong and what to send (FIELD-C2)', async () => {
    const { issuer } = gatehouse;
    for (const path of ['/token', '/introspect', '/revoke']) {
      await takes(path, issuer, usual);
      // a list of one value means the same (RFC 7519, 4.1.3), and some libraries write no other form
      await takes(path, [issuer], usual);
      for (const endpoint of new Set([at('/token'), at(path)]))
        await refuses(path, endpoint, usual, /aud must be the issuer, not an endpoint; send http.*assertion_audience/);
      await refuses(path, [issuer, issuer], usual, /aud must be one value; send http/);
      await refuses(path, [[issuer]], usual);
      await refuses(path, [issuer, at('/token')], usual, /aud must be one value; send http/);
      await refuses(path, [issuer, 'https://other.example.com'], usual, /aud must be one value; send http/);
      await refuses(path, [], usual);
      for (const other of [`${issuer}/`, 'https://other.example.com', at('/authorize'), 'é"\\'])
        await refuses(path, other, usual, new RegExp(`aud must be the issuer; send ${issuer}, the issuer, as one`));
    }
  });

  it('may be the token endpoint or the called one for a client with assertion_audience endpoints (FIELD-C2)', async () => {
    const { issuer } = gatehouse;
    for (const path of Object.keys(forms)) {
      for (const aud of [issuer, [issuer], at('/token'), at(path), [issuer, at('/token')], [at(path)]])
        await takes(path, aud, eased);
      await takes(path, `${ALIASES}/token`, eased);
      for (const aud of [
        at('/authorize'),
        at(path === '/revoke' ? '/introspect' : '/revoke'),
        [issuer, 'https://other.example.com'],
        [at('/token'), 'https://other.example.com'],
        'https://other.example.com/token',
        [issuer, issuer],
      ])
        await refuses(path, aud, eased);
    }
  });

  it('of openid-client may be the token endpoint then (FIELD-C2)', async () => {
    const authentication = openid.PrivateKeyJwt(key, {
      [openid.modifyAssertion]: (_, payload) => void (payload['aud'] = at('/token')),
    });
    const config = await configure(gatehouse, eased, authentication);
    const tokens = await openid.clientCredentialsGrant(config, { resource: gatehouse.demo.resource });
    assert.equal(tokens.token_type, 'bearer');
    const strict = await configure(gatehouse, usual, authentication);
    await assert.rejects(openid.clientCredentialsGrant(strict, {}), { error: 'invalid_client' });
  });

  it('of a pushed request may be one of the three that RFC 9126 (2) names (FIELD-C2)', async () => {
    for (const aud of [gatehouse.issuer, at('/token'), at('/par'), `${ALIASES}/par`]) await takes('/par', aud, usual);
    await takes('/par', [gatehouse.issuer], usual);
    for (const aud of [
      at('/introspect'),
      'https://other.example.com',
      [at('/par'), 'https://other.example.com'],
      [gatehouse.issuer, at('/par')],
    ])
      await refuses('/par', aud, usual);
  });

  it('of a request over the backchannel may be one of the three that CIBA (7.1) names (FIELD-C2)', async () => {
    const path = '/backchannel_authentication';
    for (const aud of [gatehouse.issuer, at('/token'), at(path)]) await takes(path, aud, usual);
    for (const aud of [
      at('/par'),
      'https://other.example.com',
      [at(path), 'https://other.example.com'],
      [at(path), at('/token')],
    ])
      await refuses(path, aud, usual);
  });

  it('is the issuer as a string for a client with the profile fapi2, at every endpoint (FIELD-C2)', async () => {
    const bank = await Fapi2Client.register(gatehouse);
    const post = async (path: string, aud: unknown) =>
      (await bank.post(path, forms[path] ?? {}, { assertion: await bank.assertion({ claims: { aud } }) })).body;
    for (const path of ['/token', '/introspect', '/revoke', '/par']) {
      assert.notEqual((await post(path, gatehouse.issuer))['error'], 'invalid_client');
      for (const aud of [at('/token'), at(path), [gatehouse.issuer]]) {
        const { error, error_description } = await post(path, aud);
        assert.equal(error, 'invalid_client', `${path} with ${JSON.stringify(aud)}`);
        assert.match(String(error_description), /aud must be .*; send http/);
        assert.doesNotMatch(String(error_description), /assertion_audience/);
      }
    }
  });

  it('is changed by an admin, with a warning wherever the client is shown and an event (FIELD-C2)', async () => {
    const metadata = {
      grant_types: ['client_credentials'],
      resources: [{ resource: gatehouse.demo.resource, scopes: gatehouse.demo.scope.split(' ') }],
      token_endpoint_auth_method: 'private_key_jwt',
      jwks: { keys: [jwk] },
    };
    const made = await admin.post('/clients', { ...metadata, ...ENDPOINTS });
    assert.equal(made.status, 201, made.text);
    const path = `/clients/${made.body.client_id}`;
    const listed = (await admin.get('/clients?limit=200')).body.items.find(
      ({ client_id }) => client_id === made.body.client_id,
    );
    for (const shown of [made.body, (await admin.get(path)).body, listed!])
      assert.deepEqual(shown['warnings'], [WARNING]);
    await admin.patch(path, { client_name: 'Portal' });
    await takes('/token', at('/token'), made.body);

    assert.deepEqual((await admin.patch(path, { assertion_audience: 'issuer' })).body['warnings'], []);
    await refuses('/token', at('/token'), made.body);
    assert.deepEqual((await admin.patch(path, ENDPOINTS)).body['warnings'], [WARNING]);
    assert.deepEqual((await admin.patch(path, { assertion_audience: null })).body['warnings'], []);
    await refuses('/token', at('/token'), made.body);
    const events = (await auditEvents(gatehouse, 'client.assertion_audience_changed'))
      .filter(({ client_id }) => client_id === made.body.client_id)
      .map(({ details }) => (details as Json)['assertion_audience']);
    assert.deepEqual(events, ['issuer', 'endpoints', 'issuer', 'endpoints']);
  });

  it('is widened only for private_key_jwt without the profile fapi2 (FIELD-C2)', async () => {
    const signs = { token_endpoint_auth_method: 'private_key_jwt', jwks: { keys: [jwk] } };
    for (const metadata of [
      { grant_types: ['client_credentials'], ...ENDPOINTS },
      { grant_types: ['client_credentials'], ...signs, assertion_audience: 'anything' },
      {
        grant_types: ['client_credentials'],
        ...signs,
        profile: 'fapi2',
        dpop_bound_access_tokens: true,
        ...ENDPOINTS,
      },
    ]) {
      const { status, body } = await admin.post('/clients', metadata);
      assert.equal(status, 400);
      assert.equal(body.errors[0]!.pointer, '/assertion_audience');
    }
    const path = `/clients/${eased.client_id}`;
    const { status, body } = await admin.patch(path, { profile: 'fapi2', dpop_bound_access_tokens: true });
    assert.equal(status, 400);
    assert.ok(body.errors.some(({ pointer }) => pointer === '/assertion_audience'));
  });

  describe('of clients that register themselves', () => {
    const signs = () => ({ token_endpoint_auth_method: 'private_key_jwt', jwks: { keys: [jwk] } });
    const tokenOf = async (policy: Json): Promise<string> => {
      await makePolicy(gatehouse, policy);
      return (await makeToken(gatehouse, String(policy['name']), { uses: 10 })).initial_access_token;
    };
    const audienceOf = async (clientId: string): Promise<unknown> =>
      (await admin.get(`/clients/${clientId}`)).body['assertion_audience'];

    it('is no choice of theirs (FIELD-C2)', async () => {
      const token = await tokenOf({ name: 'strict' });
      const refused = await register(gatehouse, { ...signs(), ...ENDPOINTS }, token);
      assert.deepEqual([refused.status, refused.body.error], [400, 'invalid_client_metadata']);
      assert.match(refused.body.error_description ?? '', /^assertion_audience can only be set by/);
      const { body } = await register(gatehouse, signs(), token);
      assert.equal(await audienceOf(body.client_id), undefined);
      await refuses('/par', at('/introspect'), body);
    });

    it('is their policy’s as long as it applies to them (FIELD-C2)', async () => {
      const token = await tokenOf({ name: 'eased', ...ENDPOINTS });
      const { body: client } = await register(gatehouse, signs(), token);
      assert.equal(await audienceOf(client.client_id), 'endpoints');
      assert.equal('assertion_audience' in client, false, 'the client could not send it back');
      await takes('/revoke', at('/revoke'), client);
      const put = (who: typeof client, metadata: Json) =>
        send(
          'PUT',
          who.registration_client_uri,
          { client_id: who.client_id, redirect_uris: who['redirect_uris'], ...metadata },
          who.registration_access_token,
        );
      const withSecret = await put(client, { token_endpoint_auth_method: 'client_secret_basic' });
      assert.equal(withSecret.status, 200, withSecret.body.error_description);
      assert.equal(await audienceOf(client.client_id), undefined);
      const again = await put(withSecret.body, signs());
      assert.equal(again.status, 200, again.body.error_description);
      assert.equal(await audienceOf(client.client_id), 'endpoints');

      await admin.patch(`/clients/${client.client_id}`, { assertion_audience: 'issuer' });
      const held = await put(again.body, { ...signs(), client_name: 'Held' });
      assert.equal(held.status, 200, held.body.error_description);
      assert.equal(await audienceOf(client.client_id), 'issuer', 'the admin’s word counts');
      await refuses('/revoke', at('/revoke'), client);

      const fapi2 = await register(gatehouse, { ...signs(), profile: 'fapi2', dpop_bound_access_tokens: true }, token);
      assert.equal(fapi2.status, 201, fapi2.body.error_description);
      assert.equal(await audienceOf(fapi2.body.client_id), undefined);
    });
  });
});
