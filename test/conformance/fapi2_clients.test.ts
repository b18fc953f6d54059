import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { decodeJwt, decodeProtectedHeader, exportJWK, generateKeyPair } from 'jose';
import * as openid from 'openid-client';
import { Admin, type Answer } from '../support/client/admin.ts';
import { certify, fetchWith, type Certified } from '../support/network/certificates.ts';
import { REDIRECT_URI } from '../support/client/code_flow.ts';
import { Fapi2Client } from '../support/client/fapi2.ts';
import type { Gatehouse } from '../support/node/gatehouse.ts';
import { registerClient } from '../support/node/operator.ts';
import { Person } from '../support/person/person.ts';
import { startWithTls } from '../support/network/tls_listener.ts';

type Members = Readonly<Record<string, unknown>>;

const DEVICE_CODE = 'urn:ietf:params:oauth:grant-type:device_code';
const CIBA = 'urn:openid:params:grant-type:ciba';

describe('a client with profile fapi2', () => {
  let gatehouse: Gatehouse;
  let admin: Admin;
  let authority: Certified;
  let good: Members;
  let mtls: string;
  before(async () => {
    ({ gatehouse, authority, mtls } = await startWithTls());
    admin = await Admin.of(gatehouse);
    const { publicKey } = await generateKeyPair('ES256', { extractable: true });
    good = {
      profile: 'fapi2',
      grant_types: ['authorization_code', 'refresh_token'],
      redirect_uris: [REDIRECT_URI],
      token_endpoint_auth_method: 'private_key_jwt',
      dpop_bound_access_tokens: true,
      jwks: { keys: [await exportJWK(publicKey)] },
    };
  });
  after(() => gatehouse.stop());

  const objectsTo = ({ status, body }: Answer, pointer: string): void => {
    assert.equal(status, 400, JSON.stringify(body));
    assert.deepEqual(
      body.errors.map((error) => error.pointer),
      [pointer],
    );
  };

  it('is made with what follows from the profile filled in', async () => {
    const { status, body } = await admin.post('/clients', good);
    assert.equal(status, 201, JSON.stringify(body));
    const filled = {
      profile: 'fapi2',
      require_pushed_authorization_requests: true,
      id_token_signed_response_alg: 'ES256',
      authorization_signed_response_alg: 'ES256',
    };
    for (const [member, value] of Object.entries(filled)) assert.equal(body[member], value, member);
  });

  describe('is not made', () => {
    for (const [what, pointer, members] of [
      ['with a secret', '/token_endpoint_auth_method', { token_endpoint_auth_method: 'client_secret_basic' }],
      ['without any proof of itself', '/token_endpoint_auth_method', { token_endpoint_auth_method: 'none' }],
      ['for bearer tokens', '/dpop_bound_access_tokens', { dpop_bound_access_tokens: false }],
      [
        'for requests that are not pushed',
        '/require_pushed_authorization_requests',
        { require_pushed_authorization_requests: false },
      ],
      ['for assertions with RS256', '/token_endpoint_auth_signing_alg', { token_endpoint_auth_signing_alg: 'RS256' }],
      ['for requests with RS256', '/request_object_signing_alg', { request_object_signing_alg: 'RS256' }],
      ['for ID tokens with RS256', '/id_token_signed_response_alg', { id_token_signed_response_alg: 'RS256' }],
      [
        'for responses with RS256',
        '/authorization_signed_response_alg',
        { authorization_signed_response_alg: 'RS256' },
      ],
      ['for userinfo with RS256', '/userinfo_signed_response_alg', { userinfo_signed_response_alg: 'RS256' }],
      [
        'for people who are not at the application',
        '/grant_types',
        { grant_types: ['authorization_code', CIBA], backchannel_token_delivery_mode: 'poll' },
      ],
      ['let off PKCE', '/pkce_exemption', { pkce_exemption: { reason: 'because' } }],
      ['for devices without a browser', '/grant_types', { grant_types: ['authorization_code', DEVICE_CODE] }],
      ['with a redirect URI on loopback', '/redirect_uris/0', { redirect_uris: ['http://127.0.0.1/callback'] }],
      [
        'with a scheme of its own',
        '/redirect_uris/1',
        { application_type: 'native', redirect_uris: [REDIRECT_URI, 'com.example.app:/callback'] },
      ],
      ['under another profile', '/profile', { profile: 'fapi1' }],
    ] as readonly (readonly [string, string, Members])[]) {
      it(what, async () => objectsTo(await admin.post('/clients', { ...good, ...members }), pointer));
    }
  });

  it('stays one through every change: what the profile forbids is refused, until the profile itself is taken away', async () => {
    const { body } = await admin.post('/clients', good);
    const path = `/clients/${body.client_id}`;
    objectsTo(await admin.patch(path, { dpop_bound_access_tokens: null }), '/dpop_bound_access_tokens');
    objectsTo(
      await admin.patch(path, { require_pushed_authorization_requests: false }),
      '/require_pushed_authorization_requests',
    );
    objectsTo(await admin.patch(path, { id_token_signed_response_alg: 'RS256' }), '/id_token_signed_response_alg');
    assert.equal((await admin.patch(path, { client_name: 'Bank' })).body['profile'], 'fapi2');
    const without = await admin.patch(path, { profile: null, dpop_bound_access_tokens: null });
    assert.deepEqual([without.status, without.body['profile']], [200, undefined]);
    const members = await gatehouse.database
      .selectFrom('audit_events')
      .select('details')
      .where('event', '=', 'client.updated')
      .where('client_id', '=', body.client_id)
      .orderBy('occurred_at', 'desc')
      .executeTakeFirstOrThrow();
    assert.match(JSON.stringify(members.details), /"profile"/);
  });

  it('is not made by giving it to a client that does not fit', async () => {
    const { body } = await admin.post('/clients', { redirect_uris: [REDIRECT_URI] });
    const { status } = await admin.patch(`/clients/${body.client_id}`, { profile: 'fapi2' });
    assert.equal(status, 400);
  });

  it('finds what it needs in discovery (fapi2-security-profile-final-discovery-end-point-verification)', async () => {
    const response = await fetch(`${gatehouse.issuer}/.well-known/openid-configuration`);
    const metadata = (await response.json()) as Readonly<Record<string, unknown>>;
    const lists = (member: string, ...values: readonly string[]): void => {
      const listed = metadata[member] as readonly string[];
      for (const value of values) assert.equal(listed.includes(value), true, `${member} lacks ${value}`);
    };
    lists('token_endpoint_auth_methods_supported', 'private_key_jwt', 'tls_client_auth', 'self_signed_tls_client_auth');
    for (const member of [
      'token_endpoint_auth_signing_alg_values_supported',
      'request_object_signing_alg_values_supported',
    ]) {
      lists(member, 'ES256', 'PS256');
    }
    lists('id_token_signing_alg_values_supported', 'ES256');
    lists('authorization_signing_alg_values_supported', 'ES256');
    lists('dpop_signing_alg_values_supported', 'ES256');
    lists('code_challenge_methods_supported', 'S256');
    lists('response_types_supported', 'code');
    lists('response_modes_supported', 'jwt');
    assert.equal(metadata['issuer'], gatehouse.issuer);
    assert.equal(metadata['authorization_response_iss_parameter_supported'], true);
    assert.equal(metadata['tls_client_certificate_bound_access_tokens'], true);
    for (const member of ['pushed_authorization_request_endpoint', 'token_endpoint', 'jwks_uri']) {
      assert.ok(String(metadata[member]).startsWith(`${gatehouse.issuer}/`), member);
    }
  });

  it('goes through the whole flow with a certificate, as openid-client does (fapi2-security-profile-final-happy-flow)', async () => {
    const certificate = await certify({ subject: 'C=DE,O=Example Bank,CN=payments', by: authority });
    const { client_id } = await registerClient(gatehouse, {
      ...good,
      token_endpoint_auth_method: 'tls_client_auth',
      tls_client_auth_subject_dn: 'CN=payments,O=Example Bank,C=DE',
      jwks: undefined,
      dpop_bound_access_tokens: undefined,
      tls_client_certificate_bound_access_tokens: true,
    });
    const overTls = fetchWith(certificate, authority);
    const metadata = { use_mtls_endpoint_aliases: true, id_token_signed_response_alg: 'ES256' };
    const config = await openid.discovery(new URL(gatehouse.issuer), client_id, metadata, openid.TlsClientAuth(), {
      execute: [openid.allowInsecureRequests],
      [openid.customFetch]: (url, options) => (url.startsWith(mtls) ? overTls : fetch)(url, options as RequestInit),
    });
    const code_challenge = await openid.calculatePKCECodeChallenge('v'.repeat(43));
    const url = await openid.buildAuthorizationUrlWithPAR(config, {
      redirect_uri: REDIRECT_URI,
      scope: 'openid email',
      state: 's',
      code_challenge,
      code_challenge_method: 'S256',
    });
    const callback = await new Person(gatehouse).authorize(url);
    const checks = { pkceCodeVerifier: 'v'.repeat(43), expectedState: 's' };
    const tokens = await openid.authorizationCodeGrant(config, callback, checks);
    const { sub } = tokens.claims()!;
    assert.equal((await openid.fetchUserInfo(config, tokens.access_token, sub)).email, gatehouse.account.email);
    const renewed = await openid.refreshTokenGrant(config, tokens.refresh_token!);
    assert.equal(renewed.refresh_token, tokens.refresh_token);
    const told = await openid.tokenIntrospection(config, renewed.access_token);
    assert.deepEqual(told.cnf, { 'x5t#S256': certificate.thumbprint });
  });

  it('gets signed answers with ES256 without asking for that algorithm (JARM)', async () => {
    const client = await Fapi2Client.register(gatehouse);
    const answer = await client.answerTo(await client.push({ response_mode: 'jwt' }));
    const response = answer.get('response')!;
    assert.equal(decodeProtectedHeader(response).alg, 'ES256');
    const { code, iss, state } = decodeJwt(response);
    assert.deepEqual([typeof code, iss, state], ['string', gatehouse.issuer, 'the-state']);
  });
});
