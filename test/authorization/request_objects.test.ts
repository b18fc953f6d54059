import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { CompactEncrypt, exportJWK, exportSPKI, generateKeyPair, SignJWT, type CryptoKey, type JWK } from 'jose';
import * as openid from 'openid-client';
import { configure, REDIRECT_URI, registerApplication } from '../support/client/code_flow.ts';
import { postForm, startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import type { RegisteredClient } from '../support/node/operator.ts';
import { Person } from '../support/person/person.ts';

const VERIFIER = 'v'.repeat(43);

type Members = Readonly<Record<string, unknown>>;

interface Changed {
  readonly header?: Members;
  /** Members that are `undefined` are left out. */
  readonly claims?: Members;
  readonly key?: CryptoKey;
}

describe('signed authorization requests (JAR, RFC 9101)', () => {
  let gatehouse: Gatehouse;
  let client: RegisteredClient;
  let key: CryptoKey;
  let publicKey: CryptoKey;
  let stranger: CryptoKey;
  let strangersJwk: JWK;
  let challenge: string;
  /** The person is logged in and has consented, so an accepted request leads straight to a code. */
  let person: Person;
  before(async () => {
    gatehouse = await startGatehouse();
    ({ privateKey: key, publicKey } = await generateKeyPair('ES256', { extractable: true }));
    const others = await generateKeyPair('ES256', { extractable: true });
    stranger = others.privateKey;
    strangersJwk = await exportJWK(others.publicKey);
    client = await register();
    challenge = await openid.calculatePKCECodeChallenge(VERIFIER);
    person = new Person(gatehouse, { remember: true });
    await person.authorize(urlOf({ request: await object() }));
  });
  after(() => gatehouse.stop());

  const register = async (metadata: Members = {}): Promise<RegisteredClient> =>
    registerApplication(gatehouse, {
      jwks: { keys: [{ ...(await exportJWK(publicKey)), kid: 'key-1', use: 'sig' }] },
      ...metadata,
    });
  const now = (): number => Math.floor(Date.now() / 1000);
  const parametersOf = ({ client_id }: RegisteredClient) => ({
    client_id,
    response_type: 'code',
    redirect_uri: REDIRECT_URI,
    scope: 'openid',
    code_challenge: challenge,
    code_challenge_method: 'S256',
  });
  const claimsOf = (claims: Members = {}, who = client): Record<string, unknown> => ({
    ...parametersOf(who),
    iss: who.client_id,
    aud: gatehouse.issuer,
    state: 'inside',
    iat: now(),
    nbf: now(),
    exp: now() + 60,
    ...claims,
  });
  const object = ({ header = {}, claims = {}, key: signer = key }: Changed = {}, who = client): Promise<string> =>
    new SignJWT(JSON.parse(JSON.stringify(claimsOf(claims, who))) as Record<string, unknown>)
      .setProtectedHeader({ alg: 'ES256', kid: 'key-1', typ: 'oauth-authz-req+jwt', ...header })
      .sign(signer);
  const encoded = (part: object): string => Buffer.from(JSON.stringify(part)).toString('base64url');
  const urlOf = (query: Readonly<Record<string, string>>, { client_id } = client): string =>
    `${gatehouse.issuer}/authorize?${new URLSearchParams({ client_id, ...query })}`;
  /** As a client would send it that repeats its parameters outside (OpenID Connect Core, 6.1). */
  const open = async (request: string, who = client): Promise<URLSearchParams | string> => {
    const { client_id: _, ...outside } = parametersOf(who);
    const { url, page } = await person.walk(urlOf({ ...outside, state: 'outside', request }, who));
    return url.startsWith(REDIRECT_URI) ? new URL(url).searchParams : page;
  };
  const accepts = async (request: string, who = client): Promise<void> => {
    const answer = await open(request, who);
    assert.equal(typeof answer === 'object' && answer.has('code'), true, String(answer));
  };
  /** Back at the application with an error, the state and `iss` (RFC 9207), or on a page of the server's own. */
  const refuses = async (request: string, who = client): Promise<void> => {
    const answer = await open(request, who);
    if (typeof answer === 'string') {
      assert.match(answer, /invalid_request(_object)?/);
      return;
    }
    assert.match(answer.get('error') ?? '', /^invalid_request(_object)?$/, String(answer));
    assert.match(answer.get('state') ?? '', /^(inside|outside)$/);
    assert.equal(answer.get('iss'), gatehouse.issuer);
    assert.equal(answer.get('code'), null);
  };

  for (const alg of ['ES256', 'PS256', 'RS256', 'Ed25519'] as const) {
    it(`log a person in as openid-client signs them, with ${alg}`, async () => {
      const pair = await generateKeyPair(alg);
      const application = await registerApplication(gatehouse, {
        jwks: { keys: [{ ...(await exportJWK(pair.publicKey)), alg }] },
        request_object_signing_alg: alg,
        require_signed_request_object: true,
      });
      const config = await configure(gatehouse, application);
      const { client_id: _, response_type: __, ...parameters } = parametersOf(application);
      const state = openid.randomState();
      const url = await openid.buildAuthorizationUrlWithJAR(config, { ...parameters, state }, pair.privateKey);
      assert.deepEqual([...url.searchParams.keys()].sort(), ['client_id', 'request']);
      const callback = await new Person(gatehouse).authorize(url);
      const checks = { pkceCodeVerifier: VERIFIER, expectedState: state };
      const tokens = await openid.authorizationCodeGrant(config, callback, checks);
      assert.equal(tokens.claims()!.aud, application.client_id);
    });
  }

  it('may be pushed, and still log one person in', async () => {
    const config = await configure(gatehouse, client);
    const { client_id: _, ...parameters } = parametersOf(client);
    const signed = await openid.buildAuthorizationUrlWithJAR(config, { ...parameters, state: 's' }, key);
    const url = await openid.buildAuthorizationUrlWithPAR(config, signed.searchParams);
    const callback = await person.authorize(url);
    await openid.authorizationCodeGrant(config, callback, { pkceCodeVerifier: VERIFIER, expectedState: 's' });
    assert.equal((await person.open(url)).response.status, 400);
  });

  it('are the whole request: what stands beside them in the address counts for nothing', async () => {
    const request = await object({ claims: { state: undefined } });
    const url = urlOf({ request, state: 'outside', scope: 'openid email', nonce: 'outside', resource: 'https://x.y' });
    const callback = await person.authorize(url);
    assert.equal(callback.searchParams.get('state'), null);
    const config = await configure(gatehouse, client);
    const tokens = await openid.authorizationCodeGrant(config, callback, { pkceCodeVerifier: VERIFIER });
    assert.equal(tokens.scope, 'openid');
    assert.equal(tokens.claims()!.nonce, undefined);
  });

  describe('are refused when they are signed', () => {
    it('JAR-01: with alg none, which is no signature', async () => {
      await refuses(`${encoded({ alg: 'none' })}.${encoded(claimsOf())}.`);
      await refuses(`${encoded({ alg: 'none', kid: 'key-1' })}.${encoded(claimsOf())}.${'x'.repeat(86)}`);
    });

    it('JAR-07: with the public key as an HMAC secret (algorithm confusion), or with the client’s own secret', async () => {
      const [pem, jwk] = [await exportSPKI(publicKey), JSON.stringify(await exportJWK(publicKey))];
      for (const secret of [pem, pem.trim(), jwk, client.client_secret]) {
        const text = `${encoded({ alg: 'HS256' })}.${encoded(claimsOf())}`;
        await refuses(`${text}.${createHmac('sha256', secret).update(text).digest('base64url')}`);
      }
    });

    it('by a stranger, who may bring the key along or say where it is', async () => {
      await refuses(await object({ key: stranger }));
      for (const header of [{ jwk: strangersJwk }, { jku: 'http://127.0.0.1:1/' }, { x5u: 'http://127.0.0.1:1/' }]) {
        await refuses(await object({ key: stranger, header: { kid: undefined, ...header } }));
      }
    });

    it('by another client', async () => {
      const other = await register({ jwks: { keys: [strangersJwk] } });
      await refuses(await object({ key: stranger, header: { kid: undefined } }));
      await refuses(await object({}, other), other);
    });

    it('with another algorithm than the registered one', async () => {
      const { privateKey, publicKey: rsa } = await generateKeyPair('PS256');
      const jwks = { keys: [{ ...(await exportJWK(publicKey)), kid: 'key-1' }, await exportJWK(rsa)] };
      const strict = await register({ jwks, request_object_signing_alg: 'ES256' });
      const request = { header: { alg: 'PS256', kid: undefined }, key: privateKey };
      await refuses(await object(request, strict), strict);
      await accepts(await object({}, strict), strict);
    });

    it('with an extension that must be understood (crit)', async () => {
      const text = `${encoded({ alg: 'ES256', kid: 'key-1', crit: ['urn:x'], 'urn:x': true })}.${encoded(claimsOf())}`;
      const signature = await crypto.subtle.sign({ name: 'ECDSA', hash: 'SHA-256' }, key, Buffer.from(text));
      await refuses(`${text}.${Buffer.from(signature).toString('base64url')}`);
    });

    it('and then changed', async () => {
      const [header, , signature] = (await object()).split('.');
      await refuses(`${header}.${encoded(claimsOf({ scope: 'openid email' }))}.${signature}`);
    });

    it('for another purpose (typ)', async () => {
      for (const typ of ['dpop+jwt', 'at+jwt', 'client-authentication+jwt']) {
        await refuses(await object({ header: { typ } }));
      }
      for (const typ of [undefined, 'JWT']) await accepts(await object({ header: { typ } }));
    });

    it('of a type that is compared without regard to case and with or without application/ (FIELD-C11)', async () => {
      for (const typ of [
        'OAuth-AuthZ-Req+JWT',
        'application/oauth-authz-req+jwt',
        'APPLICATION/OAUTH-AUTHZ-REQ+JWT',
        'jwt',
        'application/JWT',
      ])
        await accepts(await object({ header: { typ } }));
      for (const typ of ['DPoP+JWT', 'oauth-authz-req', 'text/oauth-authz-req+jwt', '', ['JWT'], 1, null])
        await refuses(await object({ header: { typ } }));
    });

    it('for a client that has registered no key', async () => {
      const keyless = await registerApplication(gatehouse);
      await refuses(await object({}, keyless), keyless);
    });
  });

  describe('are refused when their claims', () => {
    for (const [what, claims] of Object.entries<() => Members>({
      'JAR-03: name another client than the address does': () => ({ client_id: gatehouse.demo.client_id }),
      'name another client as issuer': () => ({ iss: gatehouse.demo.client_id }),
      'name no issuer': () => ({ iss: undefined }),
      'JAR-05: are for another server': () => ({ aud: 'https://other.example.test' }),
      'are for a server whose name starts like ours': () => ({ aud: `${gatehouse.issuer}.evil.example` }),
      'are for the authorization endpoint instead of the issuer': () => ({ aud: `${gatehouse.issuer}/authorize` }),
      'have no audience': () => ({ aud: undefined }),
      'have no exp': () => ({ exp: undefined }),
      'have an exp that is no number': () => ({ exp: 'tomorrow' }),
      'have expired, be it a second ago': () => ({ exp: now() - 1, nbf: now() - 30, iat: now() - 30 }),
      'live longer than an hour': () => ({ exp: now() + 3_700 }),
      'are not valid yet': () => ({ nbf: now() + 300, exp: now() + 600 }),
      'have been valid for more than an hour': () => ({ nbf: now() - 3_700 }),
      'are from the future': () => ({ iat: now() + 300, exp: now() + 600 }),
      'would do as a client assertion (sub)': () => ({ sub: client.client_id }),
      'hold another request': () => ({ request: 'e30.e30.e30' }),
      'hold a request_uri': () => ({ request_uri: 'https://app.example.com/request' }),
      'name a parameter twice': () => ({ scope: ['openid', 'email'] }),
      'have a dpop_jkt that is no thumbprint (FIELD-C16)': () => ({ dpop_jkt: 'x' }),
      'have a dpop_jkt that is no text (FIELD-C16)': () => ({ dpop_jkt: ['x'] }),
      'have no PKCE': () => ({ code_challenge: undefined, code_challenge_method: undefined }),
    })) {
      it(what, async () => refuses(await object({ claims: claims() })));
    }

    it('name a redirect URI that is not registered, and no browser is sent there', async () => {
      const request = await object({ claims: { redirect_uri: 'https://evil.example/callback' } });
      const { url, page } = await person.walk(urlOf({ request }));
      assert.equal(new URL(url).origin, new URL(gatehouse.issuer).origin);
      assert.match(page, /invalid_redirect_uri/);
    });
  });

  it('are accepted for several servers, if we are one of them, and from a clock that is a little ahead', async () => {
    await accepts(await object({ claims: { aud: ['https://other.example.test', gatehouse.issuer] } }));
    await accepts(await object({ claims: { nbf: now() + 8, iat: now() + 8 } }));
  });

  it('are refused when they are no JWT at all, or encrypted', async () => {
    const recipient = await generateKeyPair('ECDH-ES');
    const jwe = await new CompactEncrypt(Buffer.from(await object()))
      .setProtectedHeader({ alg: 'ECDH-ES', enc: 'A128GCM' })
      .encrypt(recipient.publicKey);
    for (const text of ['x', 'a.b.c', '..', 'e30.e30.e30', `${'e30.'.repeat(200)}e30`, '{}', jwe]) await refuses(text);
  });

  it('JAR-09: are never fetched: a request_uri with an address is refused, and nothing is asked there (CVE-2022-36663)', async () => {
    let asked = 0;
    const server = createServer((_, response) => void response.end(String(asked++)));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const request_uri = `http://127.0.0.1:${(server.address() as AddressInfo).port}/request.jwt`;
    const { client_id: _, ...outside } = parametersOf(client);
    for (const uri of [request_uri, request_uri.replace('http:', 'https:'), 'file:///etc/passwd', 'urn:x']) {
      const { url } = await person.walk(urlOf({ ...outside, state: 'outside', request_uri: uri }));
      const answer = new URL(url).searchParams;
      assert.match(answer.get('error') ?? '', /^(request_uri_not_supported|invalid_request_uri|invalid_request)$/);
      assert.deepEqual([answer.get('state'), answer.get('iss')], ['outside', gatehouse.issuer]);
    }
    server.close();
    assert.equal(asked, 0);
  });

  describe('of a client with require_signed_request_object', () => {
    let strict: RegisteredClient;
    before(async () => {
      strict = await register({ require_signed_request_object: true });
    });

    it('are demanded in the address', async () => {
      const { url } = await person.walk(`${gatehouse.issuer}/authorize?${new URLSearchParams(parametersOf(strict))}`);
      assert.deepEqual(new URL(url).searchParams.get('error'), 'invalid_request');
      await accepts(await object({}, strict), strict);
    });

    it('are demanded when the request is pushed', async () => {
      const unsigned = await postForm(`${gatehouse.url}/par`, parametersOf(strict), strict);
      assert.deepEqual([unsigned.status, ((await unsigned.json()) as Members)['error']], [400, 'invalid_request']);
      const request = await object({}, strict);
      const signed = await postForm(`${gatehouse.url}/par`, { client_id: strict.client_id, request }, strict);
      assert.equal(signed.status, 201);
      const { request_uri } = (await signed.json()) as { request_uri: string };
      assert.match((await person.authorize(urlOf({ request_uri }, strict))).search, /[?&]code=/);
    });

    it('when pushed are looked at like any other, and live no longer than they say', async () => {
      const push = async (changed: Changed): Promise<[number, unknown]> => {
        const form = { client_id: strict.client_id, request: await object(changed, strict) };
        const answer = await postForm(`${gatehouse.url}/par`, form, strict);
        const body = (await answer.json()) as Members;
        return [answer.status, body['error'] ?? body['expires_in']];
      };
      assert.deepEqual(await push({ claims: { aud: 'https://other.example.test' } }), [400, 'invalid_request_object']);
      assert.deepEqual(await push({ claims: { exp: now() - 1 } }), [400, 'invalid_request_object']);
      assert.deepEqual(await push({ key: stranger }), [400, 'invalid_request_object']);
      assert.deepEqual(await push({ claims: { client_id: client.client_id } }), [400, 'invalid_request_object']);
      const [status, expiresIn] = await push({ claims: { exp: now() + 20 } });
      assert.equal(status, 201);
      assert.equal(Number(expiresIn) <= 20, true);
    });

    it('need keys to be checked with, and a client that people log in to', async () => {
      const keyless = { redirect_uris: [REDIRECT_URI], require_signed_request_object: true };
      const refused = await gatehouse.adminCall('POST', '/clients', keyless);
      assert.equal(refused.status, 400);
      assert.match(await refused.text(), /must contain the public keys for require_signed_request_object/);
      const service = { grant_types: ['client_credentials'], request_object_signing_alg: 'ES256' };
      assert.equal((await gatehouse.adminCall('POST', '/clients', service)).status, 400);
      for (const request_object_signing_alg of ['none', 'HS256']) {
        const weak = { ...keyless, request_object_signing_alg };
        assert.equal((await gatehouse.adminCall('POST', '/clients', weak)).status, 400);
      }
    });
  });
});
