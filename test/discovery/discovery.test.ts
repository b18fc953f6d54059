import assert from 'node:assert/strict';
import { request } from 'node:http';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { after, before, describe, it } from 'node:test';
import { calculateJwkThumbprint, type JWK } from 'jose';
import * as oauth from 'oauth4webapi';
import * as openid from 'openid-client';
import { registerApplication, signIn } from '../support/client/code_flow.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';

type Metadata = Readonly<Record<string, unknown>>;

const OPENID = '/.well-known/openid-configuration';
const OAUTH = '/.well-known/oauth-authorization-server';
const read = async (url: string): Promise<Metadata> => (await (await fetch(url)).json()) as Metadata;

describe('discovery', () => {
  let gatehouse: Gatehouse;
  before(async () => {
    gatehouse = await startGatehouse();
  });
  after(() => gatehouse.stop());

  it('says the same in both documents, OpenID Connect Discovery and RFC 8414 (DISC-07)', async () => {
    const metadata = await read(gatehouse.url + OPENID);
    assert.deepEqual(await read(gatehouse.url + OAUTH), metadata);
    assert.equal(metadata['issuer'], gatehouse.issuer);
  });

  it('names endpoints that are there', async () => {
    const metadata = await read(gatehouse.url + OPENID);
    const endpoints = Object.entries(metadata).filter(([name]) => /_(endpoint|uri)$/.test(name));
    assert.deepEqual(endpoints.map(([name]) => name).sort(), [
      'authorization_endpoint',
      'backchannel_authentication_endpoint',
      'device_authorization_endpoint',
      'end_session_endpoint',
      'introspection_endpoint',
      'jwks_uri',
      'pushed_authorization_request_endpoint',
      'revocation_endpoint',
      'token_endpoint',
      'userinfo_endpoint',
    ]);
    for (const [name, url] of endpoints) {
      assert.equal(String(url).startsWith(`${gatehouse.issuer}/`), true, name);
      const opened = await fetch(String(url), { redirect: 'manual' });
      const posted = await fetch(String(url), { method: 'POST', redirect: 'manual' });
      await Promise.all([opened.body?.cancel(), posted.body?.cancel()]);
      assert.equal(opened.status !== 404 || posted.status !== 404, true, `${name} is not there`);
    }
  });

  it('says what every OpenID provider must say (oidcc-discovery-endpoint-verification)', async () => {
    const response = await fetch(gatehouse.url + OPENID);
    assert.match(response.headers.get('content-type') ?? '', /^application\/json/);
    const metadata = (await response.json()) as Metadata;
    for (const [name, values] of Object.entries({
      response_types_supported: ['code'],
      response_modes_supported: ['query', 'form_post'],
      grant_types_supported: ['authorization_code'],
      subject_types_supported: ['public', 'pairwise'],
      id_token_signing_alg_values_supported: ['RS256'],
      token_endpoint_auth_methods_supported: ['client_secret_basic', 'client_secret_post'],
      scopes_supported: ['openid', 'profile', 'email', 'address', 'phone', 'offline_access'],
      claims_supported: ['sub', 'acr', 'auth_time', 'name', 'birthdate', 'email', 'phone_number_verified', 'address'],
    })) {
      for (const value of values) assert.ok((metadata[name] as string[]).includes(value), `${name} has no ${value}`);
    }
  });

  it('promises OAuth 2.1 and nothing that is switched off (DISC-03)', async () => {
    const metadata = await read(gatehouse.url + OPENID);
    assert.deepEqual(metadata['response_types_supported'], ['code']);
    assert.deepEqual(metadata['code_challenge_methods_supported'], ['S256']);
    assert.deepEqual(metadata['grant_types_supported'], [
      'authorization_code',
      'refresh_token',
      'client_credentials',
      'urn:ietf:params:oauth:grant-type:device_code',
      'urn:openid:params:grant-type:ciba',
      'urn:ietf:params:oauth:grant-type:token-exchange',
      'urn:ietf:params:oauth:grant-type:jwt-bearer',
    ]);
    assert.deepEqual(metadata['token_endpoint_auth_methods_supported'], [
      'client_secret_basic',
      'client_secret_post',
      'private_key_jwt',
      'none',
    ]);
    assert.equal(metadata['authorization_response_iss_parameter_supported'], true);
    assert.equal(metadata['request_parameter_supported'], true);
    assert.equal(metadata['request_uri_parameter_supported'], false);
    const signed = ['ES256', 'RS256', 'PS256', 'Ed25519', 'EdDSA'];
    assert.deepEqual(metadata['request_object_signing_alg_values_supported'], signed);
    assert.equal(metadata['claims_parameter_supported'], true);
    assert.deepEqual(metadata['acr_values_supported'], ['urn:gatehouse:acr:password', 'urn:gatehouse:acr:mfa']);
    assert.deepEqual(metadata['subject_types_supported'], ['public', 'pairwise']);
    assert.deepEqual(metadata['userinfo_signing_alg_values_supported'], ['ES256', 'RS256']);
    assert.deepEqual(metadata['backchannel_token_delivery_modes_supported'], ['poll', 'ping']);
    assert.deepEqual(metadata['backchannel_authentication_request_signing_alg_values_supported'], signed);
    assert.equal(metadata['backchannel_user_code_parameter_supported'], false);
    const algorithms = Object.entries(metadata).filter(([name]) => name.includes('alg_values'));
    for (const [name, values] of algorithms) assert.doesNotMatch(JSON.stringify(values), /none|HS/, name);
    assert.deepEqual(metadata['dpop_signing_alg_values_supported'], ['ES256', 'Ed25519', 'EdDSA']);
    assert.deepEqual(metadata['prompt_values_supported'], ['none', 'login', 'consent', 'select_account']);
    assert.equal(metadata['backchannel_logout_supported'], true);
    assert.equal(metadata['backchannel_logout_session_supported'], true);
    const off = /registration_endpoint|frontchannel|mtls|check_session|request_object_encryption/;
    assert.deepEqual(
      Object.keys(metadata).filter((name) => off.test(name)),
      [],
    );
  });

  it('is not led astray by what a request says about the host (DISC-05, GHSA-2wmj-46rj-qm2w)', async () => {
    const genuine = await read(gatehouse.url + OPENID);
    const { port } = new URL(gatehouse.url);
    for (const headers of [
      { host: 'evil.example' },
      { 'x-forwarded-host': 'evil.example', 'x-forwarded-proto': 'https' },
      { forwarded: 'host=evil.example;proto=https' },
      { 'x-original-host': 'evil.example', 'x-forwarded-port': '1', 'x-forwarded-prefix': '/evil' },
    ]) {
      for (const path of [OPENID, OAUTH]) {
        const asked = request({ host: '127.0.0.1', port, path, headers: { ...headers } });
        asked.end();
        const [response] = (await once(asked, 'response')) as [NodeJS.ReadableStream];
        assert.deepEqual(JSON.parse(await text(response)), genuine);
      }
    }
  });

  it('leads no person to another host from the pages either', async () => {
    const { port } = new URL(gatehouse.url);
    const headers = { host: 'evil.example', 'x-forwarded-host': 'evil.example' };
    const query =
      'response_type=code&scope=openid&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256';
    const path = `/authorize?client_id=${gatehouse.demo.client_id}&redirect_uri=${encodeURIComponent('http://127.0.0.1:8080/callback')}&${query}`;
    const asked = request({ host: '127.0.0.1', port, path, headers });
    asked.end();
    const [response] = (await once(asked, 'response')) as [NodeJS.ReadableStream & { headers: { location?: string } }];
    assert.equal((await text(response)).includes('evil.example'), false);
    assert.match(response.headers.location ?? '', /^\/interaction\//);
  });

  describe('of keys', () => {
    it('tells public halves alone, each under its thumbprint (RFC 7638) (DISC-01)', async () => {
      const { keys } = (await read(`${gatehouse.url}/jwks`)) as { keys: JWK[] };
      assert.deepEqual(keys.map(({ alg }) => String(alg)).sort(), ['ES256', 'ES256', 'RS256', 'RS256']);
      for (const key of keys) {
        assert.equal(key.kid, await calculateJwkThumbprint(key));
        assert.equal(key.use, 'sig');
        for (const member of ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k', 'priv']) {
          assert.equal(member in key, false, member);
        }
      }
    });

    it('may be kept for five minutes, and asked for again without being sent again', async () => {
      const first = await fetch(`${gatehouse.url}/jwks`);
      assert.equal(first.headers.get('cache-control'), 'public, max-age=300');
      const etag = first.headers.get('etag')!;
      await first.body?.cancel();
      const again = await fetch(`${gatehouse.url}/jwks`, {
        headers: { 'if-none-match': etag },
        cache: 'no-cache', // otherwise fetch adds a header that forbids the short answer
      });
      assert.equal(again.status, 304);
      assert.equal(await again.text(), '');
      assert.equal(again.headers.get('etag'), etag);
    });

    it('gets another ETag when the keys change', async () => {
      const first = await fetch(`${gatehouse.url}/jwks`);
      await first.body?.cancel();
      const rotated = await gatehouse.adminCall('POST', '/keys/rotate', { alg: 'ES256', reason: 'A test' });
      assert.equal(rotated.status, 200);
      const headers = { 'if-none-match': first.headers.get('etag')! };
      const again = await fetch(`${gatehouse.url}/jwks`, { headers, cache: 'no-cache' });
      assert.equal(again.status, 200);
      await again.body?.cancel();
    });
  });

  it('is open to pages of every origin, without credentials', async () => {
    for (const path of [OPENID, OAUTH, '/jwks']) {
      const response = await fetch(gatehouse.url + path, { headers: { origin: 'https://anyone.example' } });
      await response.body?.cancel();
      assert.match(response.headers.get('access-control-allow-origin') ?? '', /^(\*|https:\/\/anyone\.example)$/, path);
      assert.equal(response.headers.get('access-control-allow-credentials'), null, path);
    }
  });
});

describe('an issuer with a path', () => {
  let gatehouse: Gatehouse;
  before(async () => {
    gatehouse = await startGatehouse({ path: '/auth' });
  });
  after(() => gatehouse.stop());

  it('is found at both well-known places', async () => {
    const { origin } = new URL(gatehouse.issuer);
    const metadata = await read(`${origin}${OAUTH}/auth`);
    assert.equal(metadata['issuer'], gatehouse.issuer);
    assert.equal(metadata['token_endpoint'], `${gatehouse.issuer}/token`);
    assert.deepEqual(await read(gatehouse.issuer + OPENID), metadata);
  });

  it('is found by independent clients, in both ways', async () => {
    const issuer = new URL(gatehouse.issuer);
    for (const algorithm of ['oauth2', 'oidc'] as const) {
      const answer = await oauth.discoveryRequest(issuer, { [oauth.allowInsecureRequests]: true, algorithm });
      assert.equal((await oauth.processDiscoveryResponse(issuer, answer)).issuer, gatehouse.issuer);
    }
  });

  it('serves the whole code flow under its path, cookies included', async () => {
    const application = await registerApplication(gatehouse);
    const { tokens, config, person } = await signIn(gatehouse, application, { scope: 'openid email' });
    const { email } = await openid.fetchUserInfo(config, tokens.access_token, tokens.claims()!.sub);
    assert.equal(email, gatehouse.account.email);
    const renewed = await openid.refreshTokenGrant(config, tokens.refresh_token!);
    await openid.tokenRevocation(config, renewed.refresh_token!);
    assert.equal(
      person.trace.every((line) => line.split(' ')[1]!.startsWith('/auth/')),
      true,
      person.trace.join(),
    );
  });

  it('answers nothing outside its path', async () => {
    const { origin } = new URL(gatehouse.issuer);
    for (const path of ['/token', '/jwks', '/authorize', OPENID, OAUTH, '/authorization', '/auth2/jwks']) {
      const response = await fetch(origin + path, { redirect: 'manual' });
      await response.body?.cancel();
      assert.equal(response.status, 404, path);
    }
  });
});
