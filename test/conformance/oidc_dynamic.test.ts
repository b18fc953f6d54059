import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import {
  calculateJwkThumbprint,
  createRemoteJWKSet,
  exportJWK,
  generateKeyPair,
  jwtVerify,
  type CryptoKey,
  type JWK,
} from 'jose';
import * as openid from 'openid-client';
import { authorizationRequest } from '../support/client/authorization_request.ts';
import { moveClock, resetClock } from '../support/node/clock.ts';
import { REDIRECT_URI, signIn } from '../support/client/code_flow.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { CA, closeOutside, NAME, PUBLIC, startOutside, type Outside } from '../support/network/outside_server.ts';
import { Person } from '../support/person/person.ts';
import { makePolicy, makeToken, register, type Json } from '../support/client/registration.ts';

const CALLBACK = REDIRECT_URI;

interface Key {
  readonly key: CryptoKey;
  readonly kid: string;
  readonly jwk: JWK;
}

async function makeKey(kid: string): Promise<Key> {
  const { privateKey, publicKey } = await generateKeyPair('ES256', { extractable: true });
  return { key: privateKey, kid, jwk: { ...(await exportJWK(publicKey)), kid, use: 'sig', alg: 'ES256' } };
}

/** The dynamic plan of the OpenID conformance suite, with its initial access token. */
describe('a relying party that registers itself', () => {
  let gatehouse: Gatehouse;
  let outside: Outside;
  let token: string;
  let published: JWK[] = [];
  before(async () => {
    outside = await startOutside((_request, response) => {
      response.setHeader('content-type', 'application/json').end(JSON.stringify({ keys: published }));
    });
    gatehouse = await startGatehouse({
      environment: { GATEHOUSE_EGRESS_ALLOW: `https://${NAME}:${outside.port}` },
      resolve: async () => [{ address: PUBLIC, family: 4 }],
      ca: CA,
    });
    await makePolicy(gatehouse, { name: 'conformance' });
    token = (await makeToken(gatehouse, 'conformance', { uses: 100 })).initial_access_token;
  });
  afterEach(resetClock);
  after(async () => {
    await gatehouse.stop();
    closeOutside();
  });

  const dynamic = (
    metadata: Partial<openid.ClientMetadata>,
    authentication: openid.ClientAuth = openid.ClientSecretBasic(),
  ): Promise<openid.Configuration> =>
    openid.dynamicClientRegistration(
      new URL(gatehouse.issuer),
      { redirect_uris: [CALLBACK], grant_types: ['authorization_code', 'refresh_token'], ...metadata },
      authentication,
      { initialAccessToken: token, execute: [openid.allowInsecureRequests] },
    );
  const authorizationUrl = (
    client_id: string,
    redirect_uri: string,
    more: Readonly<Record<string, string>> = {},
  ): string => `${gatehouse.url}/authorize?${authorizationRequest({ client_id }, { redirect_uri, ...more })}`;
  const consentPage = async (clientId: string): Promise<string> => {
    const person = new Person(gatehouse);
    const login = await person.open(authorizationUrl(clientId, CALLBACK));
    const action = /action="([^"]*\/login)"/.exec(login.page)![1]!;
    return (await person.submit(new URL(action, login.url), { ...gatehouse.account })).page;
  };

  it('has its privacy policy shown where people decide about it (oidcc-registration-policy-uri)', async () => {
    const { client_id } = (await dynamic({ policy_uri: 'https://rp.example.com/privacy' })).clientMetadata();
    assert.match(
      await consentPage(client_id),
      /<a href="https:\/\/rp\.example\.com\/privacy"[^>]*>Privacy policy<\/a>/,
    );
  });

  it('has its terms shown where people decide about it (oidcc-registration-tos-uri)', async () => {
    const { client_id } = (await dynamic({ tos_uri: 'https://rp.example.com/terms' })).clientMetadata();
    assert.match(
      await consentPage(client_id),
      /<a href="https:\/\/rp\.example\.com\/terms"[^>]*>Terms of service<\/a>/,
    );
  });

  it('may have a query in its redirect URI, and gets it back beside the code (oidcc-redirect-uri-query-OK)', async () => {
    const redirect = `${CALLBACK}?foo=bar`;
    const { client_id } = (await dynamic({ redirect_uris: [redirect] })).clientMetadata();
    const callback = await new Person(gatehouse).authorize(authorizationUrl(client_id, redirect));
    assert.equal(callback.searchParams.get('foo'), 'bar');
    assert.notEqual(callback.searchParams.get('code'), null);
  });

  it('gets nothing at a redirect URI with another query (oidcc-redirect-uri-query-mismatch)', async () => {
    const { client_id } = (await dynamic({ redirect_uris: [`${CALLBACK}?foo=bar`] })).clientMetadata();
    const { status, headers } = await fetch(authorizationUrl(client_id, `${CALLBACK}?bar=foo`), { redirect: 'manual' });
    assert.equal(status, 400);
    assert.equal(headers.get('location'), null);
  });

  it('gets nothing at a redirect URI with a query added (oidcc-redirect-uri-query-added)', async () => {
    const { client_id } = (await dynamic({})).clientMetadata();
    const { status, headers } = await fetch(authorizationUrl(client_id, `${CALLBACK}?foo=bar`), { redirect: 'manual' });
    assert.equal(status, 400);
    assert.equal(headers.get('location'), null);
  });

  it('registers no redirect URI with a fragment (oidcc-redirect-uri-regfrag)', async () => {
    const { status, body } = await register(gatehouse, { redirect_uris: [`${CALLBACK}#fragment`] }, token);
    assert.deepEqual([status, body.error], [400, 'invalid_redirect_uri']);
  });

  it('proves itself with keys that it publishes (oidcc-registration-jwks-uri)', async () => {
    const { config } = await withPublishedKey();
    const tokens = await logIn(config);
    assert.equal(tokens.claims()?.aud, config.clientMetadata().client_id);
  });

  it('proves itself by assertions for the issuer (oidcc-ensure-client-assertion-with-iss-aud-succeeds)', async () => {
    const audiences: unknown[] = [];
    const { config } = await withPublishedKey({
      [openid.modifyAssertion]: (_header, payload) => {
        payload['aud'] = gatehouse.issuer;
        audiences.push(payload['aud']);
      },
    });
    await logIn(config);
    assert.deepEqual(audiences, [gatehouse.issuer]);
  });

  it('renews its tokens with another key once it has published that (oidcc-refresh-token-rp-key-rotation)', async () => {
    const { config } = await withPublishedKey();
    const first = await logIn(config);
    const next = await makeKey('next');
    published = [next.jwk];
    moveClock(61);
    const rotated = new openid.Configuration(
      config.serverMetadata(),
      config.clientMetadata().client_id,
      {},
      openid.PrivateKeyJwt({ key: next.key, kid: next.kid }),
    );
    openid.allowInsecureRequests(rotated);
    const renewed = await openid.refreshTokenGrant(rotated, first.refresh_token!);
    assert.equal(typeof renewed.access_token, 'string');
    await assert.rejects(openid.refreshTokenGrant(config, renewed.refresh_token!), { error: 'invalid_client' });
  });

  it('verifies ID tokens after the server has changed its keys (oidcc-server-rotate-keys)', async () => {
    const registered = (await dynamic({})).clientMetadata();
    const client = { client_id: registered.client_id, client_secret: String(registered.client_secret) };
    const kids = async (): Promise<string[]> => {
      const { keys } = (await (await fetch(`${gatehouse.url}/jwks`)).json()) as { keys: JWK[] };
      for (const key of keys) assert.equal(key.kid, await calculateJwkThumbprint(key));
      return keys.map(({ kid }) => String(kid));
    };
    const kidOf = async (): Promise<string | undefined> => {
      const { tokens } = await signIn(gatehouse, client);
      const { protectedHeader } = await jwtVerify(
        tokens.id_token!,
        createRemoteJWKSet(new URL(`${gatehouse.url}/jwks`)),
      );
      return protectedHeader.kid;
    };
    const [kidsBefore, signedBefore] = [await kids(), await kidOf()];
    const rotated = await gatehouse.adminCall('POST', '/keys/rotate', {
      alg: 'RS256',
      reason: 'A test',
      emergency: true,
    });
    assert.equal(rotated.status, 200);
    const kidsAfter = await kids();
    assert.equal(
      kidsAfter.some((kid) => !kidsBefore.includes(kid)),
      true,
    );
    const signedAfter = await kidOf();
    assert.notEqual(signedAfter, signedBefore);
    assert.equal(kidsAfter.includes(String(signedAfter)), true);
  });

  async function withPublishedKey(
    options: openid.ModifyAssertionOptions = {},
  ): Promise<{ readonly config: openid.Configuration }> {
    const { key, kid, jwk } = await makeKey(crypto.randomUUID());
    published = [jwk];
    const config = await dynamic(
      { token_endpoint_auth_method: 'private_key_jwt', jwks_uri: `https://${NAME}:${outside.port}/${kid}` },
      openid.PrivateKeyJwt({ key, kid }, options),
    );
    return { config };
  }

  async function logIn(config: openid.Configuration) {
    const verifier = openid.randomPKCECodeVerifier();
    const parameters: Json & Record<string, string> = {
      redirect_uri: CALLBACK,
      scope: 'openid',
      code_challenge: await openid.calculatePKCECodeChallenge(verifier),
      code_challenge_method: 'S256',
    };
    const callback = await new Person(gatehouse).authorize(openid.buildAuthorizationUrl(config, parameters));
    return openid.authorizationCodeGrant(config, callback, { pkceCodeVerifier: verifier });
  }
});
