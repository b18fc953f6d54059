import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { generateKeyPair, SignJWT, type JWTPayload } from 'jose';
import {
  basic,
  REDIRECT_URI,
  registerApplication,
  registerPublicApplication,
  requestCode,
  signIn,
} from '../support/client/code_flow.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import type { RegisteredClient } from '../support/node/operator.ts';

describe('the token endpoint, asked by pages of other origins (CORS),', () => {
  let gatehouse: Gatehouse;
  before(async () => {
    gatehouse = await startGatehouse();
  });
  after(() => gatehouse.stop());

  const preflight = (origin: string) =>
    fetch(`${gatehouse.url}/token`, {
      method: 'OPTIONS',
      headers: { origin, 'access-control-request-method': 'POST' },
    });
  const allowed = async (who: RegisteredClient, origin: string): Promise<string | null> => {
    const request = await requestCode(gatehouse, who);
    const { client_id } = who;
    const body = new URLSearchParams({
      grant_type: 'authorization_code',
      client_id,
      code: request.code,
      code_verifier: request.verifier,
      redirect_uri: REDIRECT_URI,
    });
    const response = await fetch(`${gatehouse.url}/token`, { method: 'POST', headers: { origin }, body });
    await response.body?.cancel();
    assert.equal(response.headers.get('access-control-allow-credentials'), null);
    return response.headers.get('access-control-allow-origin');
  };

  it('lets a public client read its tokens at the origin of its redirect URI, and nowhere else', async () => {
    const spa = await registerPublicApplication(gatehouse);
    const { origin } = new URL(REDIRECT_URI);
    assert.equal(await allowed(spa, origin), origin);
    assert.equal(await allowed(spa, 'https://evil.example'), null);
    assert.equal(await allowed(spa, 'https://app.example.com.evil.example'), null);
    assert.equal(await allowed(spa, 'null'), null);
  });

  it('lets no sandboxed page read the tokens of an app, whose redirect URI has no origin either', async () => {
    const app = await registerPublicApplication(gatehouse, {
      application_type: 'native',
      redirect_uris: [REDIRECT_URI, 'com.example.app:/callback'],
    });
    assert.equal(await allowed(app, 'null'), null);
  });

  it('answers the preflight without credentials', async () => {
    const response = await preflight('https://app.example.com');
    assert.equal(response.status, 204);
    assert.equal(response.headers.get('access-control-allow-credentials'), null);
  });

  it('lets no page read the tokens of a confidential client', async () => {
    const { origin } = new URL(REDIRECT_URI);
    const client = await registerApplication(gatehouse);
    const request = await requestCode(gatehouse, client);
    const response = await fetch(`${gatehouse.url}/token`, {
      method: 'POST',
      headers: { origin, authorization: basic(client.client_id, client.client_secret) },
      body: new URLSearchParams({
        grant_type: 'authorization_code',
        code: request.code,
        code_verifier: request.verifier,
        redirect_uri: REDIRECT_URI,
      }),
    });
    await response.body?.cancel();
    assert.equal(response.headers.get('access-control-allow-origin'), null);
  });

  it('takes no origin from a token that is not verified (CVE-2026-37977)', async () => {
    const spa = await registerPublicApplication(gatehouse);
    const { privateKey } = await generateKeyPair('ES256');
    const forge = (claims: JWTPayload): Promise<string> =>
      new SignJWT({ client_id: spa.client_id, azp: spa.client_id, sub: spa.client_id, ...claims })
        .setProtectedHeader({ alg: 'ES256', typ: 'at+jwt' })
        .setIssuer(gatehouse.issuer)
        .setAudience(gatehouse.issuer)
        .setExpirationTime('1m')
        .sign(privateKey);
    const evil = 'https://evil.example';
    const forged = await forge({ 'allowed-origins': [evil, '*'], allowed_origins: [evil], web_origins: [evil] });
    const plain = await forge({});
    /** Who may read the answer, and what stands in it. */
    const asked = async (path: string, token: string, origin: string) => {
      const client_assertion_type = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';
      const body = new URLSearchParams({ token, client_assertion_type, client_assertion: token });
      const response = await fetch(gatehouse.url + path, {
        headers: { origin, authorization: `Bearer ${token}` },
        ...(path !== '/userinfo' && { method: 'POST', headers: { origin }, body }),
      });
      assert.equal(response.headers.get('access-control-allow-credentials'), null);
      const { error } = (await response.json()) as { error?: string };
      assert.ok(error, path);
      return [response.status, response.headers.get('access-control-allow-origin')];
    };
    for (const path of ['/userinfo', '/token', '/introspect', '/revoke']) {
      assert.deepEqual(await asked(path, forged, evil), await asked(path, plain, evil), path);
      // a client that it names is only another reason to say no
      const [, reader] = await asked(path, forged, evil);
      assert.ok(reader === null || reader === (await asked(path, 'e30.e30.e30', evil))[1], path);
    }
    const { tokens } = await signIn(gatehouse, spa);
    assert.deepEqual(await asked('/userinfo', tokens.access_token, evil), [400, null]);
  });
});
