import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { createRemoteJWKSet, decodeProtectedHeader, errors, generateKeyPair, exportJWK, jwtVerify } from 'jose';
import * as oauth from 'oauth4webapi';
import * as openid from 'openid-client';
import { configure } from '../support/client/code_flow.ts';
import { postForm, startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { registerClient, registerResource, type RegisteredClient } from '../support/node/operator.ts';

describe('client credentials', () => {
  let gatehouse: Gatehouse;
  let client: RegisteredClient;
  /** What a resource server has of us. */
  let jwks: ReturnType<typeof createRemoteJWKSet>;
  before(async () => {
    gatehouse = await startGatehouse();
    client = await registerClient(gatehouse);
    jwks = createRemoteJWKSet(new URL(`${gatehouse.issuer}/jwks`));
  });
  after(() => gatehouse.stop());

  const verify = (token: string, audience: string) =>
    jwtVerify(token, jwks, { issuer: gatehouse.issuer, audience, typ: 'at+jwt' });
  const ask = async (form: Record<string, string>, who: RegisteredClient = client) => {
    const response = await postForm(`${gatehouse.url}/token`, { grant_type: 'client_credentials', ...form }, who);
    return { status: response.status, body: (await response.json()) as Record<string, string> };
  };

  it('gives a token that a resource server verifies with our JWKS and nothing else (RFC 9068)', async () => {
    const { access_token, token_type, expires_in, scope } = await openid.clientCredentialsGrant(
      await configure(gatehouse, client),
    );
    const { payload, protectedHeader } = await verify(access_token, gatehouse.demo.resource);

    assert.equal(token_type, 'bearer');
    assert.equal(expires_in, 600);
    assert.equal(scope, 'notes:read notes:write');
    assert.equal(protectedHeader.alg, 'ES256');
    assert.equal(protectedHeader.typ, 'at+jwt');
    assert.equal(payload.sub, client.client_id);
    assert.equal(payload['client_id'], client.client_id);
    assert.equal(payload['scope'], 'notes:read notes:write');
    assert.equal(typeof payload.jti, 'string');
    assert.equal(payload.exp! - payload.iat!, 600);
    assert.equal(payload['gid'], undefined);
  });

  it('gives a token that is worth nothing at another API', async () => {
    const { body } = await ask({});
    await assert.rejects(verify(body['access_token']!, 'https://other.example.com'), errors.JWTClaimValidationFailed);
  });

  it('never gives two tokens the same jti', async () => {
    const tokens = await Promise.all(Array.from({ length: 10 }, () => ask({})));
    const ids = await Promise.all(
      tokens.map(async ({ body }) => (await verify(body['access_token']!, gatehouse.demo.resource)).payload.jti),
    );
    assert.equal(new Set(ids).size, 10);
  });

  describe('each method of client authentication, by independent clients', () => {
    it('client_secret_post', async () => {
      const poster = await registerClient(gatehouse, { token_endpoint_auth_method: 'client_secret_post' });
      const config = await configure(gatehouse, poster, openid.ClientSecretPost(poster.client_secret));
      const { access_token } = await openid.clientCredentialsGrant(config);
      assert.equal((await verify(access_token, gatehouse.demo.resource)).payload.sub, poster.client_id);
    });

    for (const alg of ['ES256', 'RS256', 'PS256', 'Ed25519'] as const) {
      it(`private_key_jwt with ${alg}`, async () => {
        const { privateKey, publicKey } = await generateKeyPair(alg);
        const signer = await registerClient(gatehouse, {
          token_endpoint_auth_method: 'private_key_jwt',
          jwks: { keys: [{ ...(await exportJWK(publicKey)), kid: 'k', alg }] },
        });
        const config = await configure(gatehouse, signer, openid.PrivateKeyJwt({ key: privateKey, kid: 'k' }));
        const { access_token } = await openid.clientCredentialsGrant(config);
        assert.equal((await verify(access_token, gatehouse.demo.resource)).payload.sub, signer.client_id);
      });
    }

    it('client_secret_basic with oauth4webapi', async () => {
      const issuer = new URL(gatehouse.issuer);
      const insecure = { [oauth.allowInsecureRequests]: true };
      const found = await oauth.discoveryRequest(issuer, { ...insecure, algorithm: 'oauth2' });
      const server = await oauth.processDiscoveryResponse(issuer, found);
      const asked = await oauth.clientCredentialsGrantRequest(
        server,
        { client_id: client.client_id },
        oauth.ClientSecretBasic(client.client_secret),
        new URLSearchParams({ scope: 'notes:read' }),
        insecure,
      );
      const { access_token, scope } = await oauth.processClientCredentialsResponse(
        server,
        { client_id: client.client_id },
        asked,
      );
      assert.equal(scope, 'notes:read');
      // and as a resource server: the library's own check of RFC 9068
      const request = new Request(gatehouse.demo.resource, { headers: { authorization: `Bearer ${access_token}` } });
      const claims = await oauth.validateJwtAccessToken(server, request, gatehouse.demo.resource, insecure);
      assert.equal(claims.client_id, client.client_id);
    });
  });

  describe('scopes and resources, exactly', () => {
    it('gives the scopes asked for and not one more', async () => {
      const { body } = await ask({ scope: 'notes:read' });
      assert.equal(body['scope'], 'notes:read');
      assert.equal((await verify(body['access_token']!, gatehouse.demo.resource)).payload['scope'], 'notes:read');
    });

    for (const scope of ['notes:read notes:delete', 'notes:*', '*', 'NOTES:READ', 'clients:write', 'openid']) {
      it(`refuses the scope ${scope}, which the client was not given`, async () => {
        const { status, body } = await ask({ scope });
        assert.deepEqual([status, body['error']], [400, 'invalid_scope']);
      });
    }

    it('refuses a resource that is not registered, and one that the client was not given, in the same words', async () => {
      const unknown = await ask({ resource: 'https://nowhere.example.com' });
      const foreign = await ask({ resource: gatehouse.admin.resource });
      assert.deepEqual([unknown.status, unknown.body['error']], [400, 'invalid_target']);
      assert.deepEqual(foreign, unknown);
    });

    it('refuses a client that was given nothing', async () => {
      const { status, body } = await ask({}, await registerClient(gatehouse, { resources: [] }));
      assert.deepEqual([status, body['error']], [400, 'invalid_target']);
    });

    it('wants to know which API is meant where a client has several, and never joins two in one token', async () => {
      const [mail, files] = [await registerResource(gatehouse, 'mail'), await registerResource(gatehouse, 'files')];
      const both = await registerClient(gatehouse, { resources: [mail, files] });

      assert.equal((await ask({}, both)).body['error'], 'invalid_target');
      assert.equal((await ask({ scope: 'mail:read files:read' }, both)).body['error'], 'invalid_target');
      assert.equal((await ask({ scope: 'mail:read', resource: files.resource }, both)).body['error'], 'invalid_scope');

      const named = await ask({ resource: files.resource }, both);
      assert.equal(named.body['scope'], 'files:read files:write');
      assert.equal((await verify(named.body['access_token']!, files.resource)).payload.aud, files.resource);
      // a scope that only one of them has says it, too
      assert.equal((await ask({ scope: 'mail:read' }, both)).body['scope'], 'mail:read');
    });

    it('refuses two resources in one request', async () => {
      const body = new URLSearchParams({ grant_type: 'client_credentials', resource: gatehouse.demo.resource });
      body.append('resource', gatehouse.admin.resource);
      const { client_id, client_secret, resource } = gatehouse.admin;
      const authorization = `Basic ${Buffer.from(`${client_id}:${client_secret}`).toString('base64')}`;
      const both = await fetch(`${gatehouse.url}/token`, { method: 'POST', headers: { authorization }, body });
      assert.equal(both.status, 400);
      assert.equal(((await both.json()) as { error: string }).error, 'invalid_target');
      // alone it would have been given
      assert.equal((await ask({ resource, scope: 'clients:read' }, gatehouse.admin)).status, 200);
    });

    it('signs with the algorithm and for the time that the resource says', async () => {
      const slow = await registerResource(gatehouse, 'slow', { signing_alg: 'RS256', access_token_ttl_seconds: 77 });
      const { body } = await ask({}, await registerClient(gatehouse, { resources: [slow] }));
      const { payload } = await verify(body['access_token']!, slow.resource);
      assert.equal(decodeProtectedHeader(body['access_token']!).alg, 'RS256');
      assert.equal(payload.exp! - payload.iat!, 77);
      assert.equal(Number(body['expires_in']), 77);
    });
  });

  it('is for clients that were registered for it: the code flow alone gives no token without a person', async () => {
    const application = await registerClient(gatehouse, { redirect_uris: ['https://app.example.com/cb'] });
    const { status, body } = await ask({}, application);
    assert.deepEqual([status, body['error']], [400, 'unauthorized_client']);
  });

  for (const grant_type of ['password', 'implicit', 'urn:ietf:params:oauth:grant-type:saml2-bearer', 'urn:evil']) {
    it(`has no grant type ${grant_type}`, async () => {
      const { status, body } = await ask({ grant_type, username: 'a', password: 'b' });
      assert.deepEqual([status, body['error']], [400, 'unsupported_grant_type']);
    });
  }

  it('never gives a refresh token', async () => {
    const { body } = await ask({});
    assert.equal('refresh_token' in body, false);
  });
});
