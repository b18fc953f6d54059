import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { createRemoteJWKSet, exportJWK, generateKeyPair, jwtVerify } from 'jose';
import * as openid from 'openid-client';
import { REDIRECT_URI, registerApplication } from '../support/client/code_flow.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import type { RegisteredClient } from '../support/node/operator.ts';
import { Person, type PersonOptions } from '../support/person/person.ts';

const VERIFIER = 'v'.repeat(43);

describe('signed authorization responses (JARM)', () => {
  let gatehouse: Gatehouse;
  let client: RegisteredClient;
  let challenge: string;
  before(async () => {
    gatehouse = await startGatehouse();
    client = await registerApplication(gatehouse, { authorization_signed_response_alg: 'ES256' });
    challenge = await openid.calculatePKCECodeChallenge(VERIFIER);
  });
  after(() => gatehouse.stop());

  const configure = async (
    { client_id, client_secret }: RegisteredClient,
    authorization_signed_response_alg: string,
  ): Promise<openid.Configuration> => {
    const authentication = openid.ClientSecretBasic(client_secret);
    const metadata = { authorization_signed_response_alg };
    const config = await openid.discovery(new URL(gatehouse.issuer), client_id, metadata, authentication, {
      execute: [openid.allowInsecureRequests],
    });
    openid.useJwtResponseMode(config);
    return config;
  };
  const parametersOf = (more: Readonly<Record<string, string>> = {}): Record<string, string> => ({
    redirect_uri: REDIRECT_URI,
    scope: 'openid',
    state: 'the-state',
    code_challenge: challenge,
    code_challenge_method: 'S256',
    ...more,
  });
  const walk = (response_mode: string, options: PersonOptions = {}, more: Readonly<Record<string, string>> = {}) => {
    const query = { client_id: client.client_id, response_type: 'code', response_mode, ...parametersOf(more) };
    return new Person(gatehouse, options).walk(`${gatehouse.issuer}/authorize?${new URLSearchParams(query)}`);
  };
  /** Verifies as an independent client does: with our JWKS, the issuer, and itself as the audience. */
  const verify = async (response: string | null) => {
    const jwks = createRemoteJWKSet(new URL(`${gatehouse.issuer}/jwks`));
    const expected = { issuer: gatehouse.issuer, audience: client.client_id, algorithms: ['ES256'] };
    const { payload } = await jwtVerify(response ?? '', jwks, { ...expected, requiredClaims: ['exp'] });
    assert.equal(payload.exp! - Math.floor(Date.now() / 1000) <= 120, true);
    return payload;
  };

  for (const [alg, metadata] of Object.entries({ ES256: { authorization_signed_response_alg: 'ES256' }, RS256: {} })) {
    it(`are what openid-client checks, with ${alg}${alg === 'RS256' ? ', which is the default' : ''}`, async () => {
      const application = await registerApplication(gatehouse, metadata);
      const config = await configure(application, alg);
      const callback = await new Person(gatehouse).authorize(openid.buildAuthorizationUrl(config, parametersOf()));
      assert.deepEqual([...callback.searchParams.keys()], ['response']);
      const checks = { pkceCodeVerifier: VERIFIER, expectedState: 'the-state' };
      const tokens = await openid.authorizationCodeGrant(config, callback, checks);
      assert.equal(tokens.claims()!.aud, application.client_id);
    });
  }

  it('answer requests that were signed and pushed, as openid-client does all of it together', async () => {
    const { privateKey, publicKey } = await generateKeyPair('ES256');
    const application = await registerApplication(gatehouse, {
      jwks: { keys: [await exportJWK(publicKey)] },
      authorization_signed_response_alg: 'ES256',
      require_pushed_authorization_requests: true,
      require_signed_request_object: true,
      dpop_bound_access_tokens: true,
    });
    const config = await configure(application, 'ES256');
    const DPoP = openid.getDPoPHandle(config, await openid.randomDPoPKeyPair());
    const signed = await openid.buildAuthorizationUrlWithJAR(config, parametersOf(), privateKey);
    const url = await openid.buildAuthorizationUrlWithPAR(config, signed.searchParams, { DPoP });
    const callback = await new Person(gatehouse).authorize(url);
    const checks = { pkceCodeVerifier: VERIFIER, expectedState: 'the-state' };
    const tokens = await openid.authorizationCodeGrant(config, callback, checks, undefined, { DPoP });
    assert.equal(tokens.token_type, 'dpop');
  });

  for (const mode of ['jwt', 'query.jwt', 'fragment.jwt'] as const) {
    it(`come back as ${mode}, and no parameter is outside the signature`, async () => {
      const { searchParams, hash } = new URL((await walk(mode)).url);
      const answer = mode === 'fragment.jwt' ? new URLSearchParams(hash.slice(1)) : searchParams;
      assert.deepEqual([...searchParams.keys(), ...new URLSearchParams(hash.slice(1)).keys()], ['response']);
      const { code, state, ...rest } = await verify(answer.get('response'));
      assert.match(String(code), /^[\w-]{43}$/);
      assert.equal(state, 'the-state');
      assert.deepEqual(Object.keys(rest).sort(), ['aud', 'exp', 'iss']);
    });
  }

  it('come back as form_post.jwt, in a page that no cache stores', async () => {
    const { page, response } = await walk('form_post.jwt', {}, { state: '"><script>alert(1)</script>' });
    assert.equal(response.headers.get('cache-control'), 'no-store');
    assert.match(page, new RegExp(`action="${REDIRECT_URI}"`));
    assert.equal(page.includes('alert'), false);
    assert.equal(/name="(code|state|iss)"/.test(page), false);
    const { code, state } = await verify(/name="response" value="([^"]+)"/.exec(page)?.[1] ?? null);
    assert.match(String(code), /^[\w-]{43}$/);
    assert.equal(state, '"><script>alert(1)</script>');
  });

  it('report a refusal too, signed like the rest', async () => {
    const denied = await walk('jwt', { decision: 'deny' });
    const { error, state, code } = await verify(new URL(denied.url).searchParams.get('response'));
    assert.deepEqual([error, state, code], ['access_denied', 'the-state', undefined]);
    const wrong = await walk('query.jwt', {}, { scope: 'openid nothing' });
    assert.equal((await verify(new URL(wrong.url).searchParams.get('response')))['error'], 'invalid_scope');
  });

  it('are not sent to a redirect URI that is not registered', async () => {
    const { url, response } = await walk('jwt', {}, { redirect_uri: 'https://evil.example/callback' });
    assert.equal(new URL(url).origin, new URL(gatehouse.issuer).origin);
    assert.equal(response.status, 400);
  });

  for (const mode of ['web_message', 'web_message.jwt', 'jwt.jwt', 'query.jws', 'JWT']) {
    it(`have no mode ${mode}`, async () => {
      const { searchParams } = new URL((await walk(mode)).url);
      assert.equal(searchParams.get('error'), 'unsupported_response_mode');
      assert.equal(searchParams.get('code'), null);
    });
  }

  it('are signed with what this server signs with: no other algorithm can be registered', async () => {
    for (const authorization_signed_response_alg of ['none', 'HS256', 'ES384', 'RS512']) {
      const asked = { redirect_uris: [REDIRECT_URI], authorization_signed_response_alg };
      const answer = await gatehouse.adminCall('POST', '/clients', asked);
      assert.equal(answer.status, 400, authorization_signed_response_alg);
      assert.match(await answer.text(), /must be one of ES256, RS256/);
    }
  });

  it('are promised by discovery, modes and algorithms', async () => {
    const metadata = (await (await fetch(`${gatehouse.url}/.well-known/openid-configuration`)).json()) as Record<
      string,
      string[]
    >;
    assert.deepEqual(metadata['authorization_signing_alg_values_supported'], ['ES256', 'RS256']);
    const modes = ['form_post', 'form_post.jwt', 'fragment', 'fragment.jwt', 'jwt', 'query', 'query.jwt'];
    assert.deepEqual(metadata['response_modes_supported']?.toSorted(), modes);
  });
});
