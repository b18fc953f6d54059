import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { createRemoteJWKSet, decodeProtectedHeader, jwtVerify } from 'jose';
import * as openid from 'openid-client';
import {
  REDIRECT_URI,
  registerApplication,
  registerPublicApplication,
  requestCode,
  signIn,
} from '../support/client/code_flow.ts';
import { requestToken, startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import type { RegisteredClient } from '../support/node/operator.ts';

describe('userinfo', () => {
  let gatehouse: Gatehouse;
  let application: RegisteredClient;
  before(async () => {
    gatehouse = await startGatehouse();
    application = await registerApplication(gatehouse);
  });
  after(() => gatehouse.stop());

  const ask = async (init: RequestInit = {}, query = '') => {
    const response = await fetch(`${gatehouse.url}/userinfo${query}`, init);
    const text = await response.text();
    return { status: response.status, headers: response.headers, text };
  };
  const bearer = (token: string) => ({ headers: { authorization: `Bearer ${token}` } });

  it('tells the bearer of a token who logged in, by GET and by POST', async () => {
    const { tokens } = await signIn(gatehouse, application, { scope: 'openid email' });
    const { sub } = tokens.claims()!;
    for (const method of ['GET', 'POST']) {
      const { status, text } = await ask({ method, ...bearer(tokens.access_token) });
      assert.deepEqual(
        [status, JSON.parse(text)],
        [200, { sub, email: gatehouse.account.email, email_verified: true }],
      );
    }
  });

  for (const alg of ['RS256', 'ES256'] as const) {
    it(`is signed with ${alg} for a client that wants it so, and for no other${alg === 'RS256' ? ' (oidcc-userinfo-rs256)' : ''}`, async () => {
      const its = await registerApplication(gatehouse, { userinfo_signed_response_alg: alg });
      const { tokens } = await signIn(gatehouse, its, { scope: 'openid email' });
      const { sub } = tokens.claims()!;
      for (const method of ['GET', 'POST']) {
        const { headers, text } = await ask({ method, ...bearer(tokens.access_token) });
        assert.match(headers.get('content-type') ?? '', /^application\/jwt/);
        const jwks = createRemoteJWKSet(new URL(`${gatehouse.issuer}/jwks`));
        const expected = { issuer: gatehouse.issuer, audience: its.client_id, algorithms: [alg], subject: sub };
        const { payload } = await jwtVerify(text, jwks, expected);
        assert.equal(payload['email'], gatehouse.account.email);
      }
    });
  }

  it('is checked by openid-client where it is signed', async () => {
    const its = await registerApplication(gatehouse, { userinfo_signed_response_alg: 'ES256' });
    const { tokens } = await signIn(gatehouse, its, { scope: 'openid email' });
    const { client_id, client_secret } = its;
    const metadata = { client_secret, userinfo_signed_response_alg: 'ES256' };
    const config = await openid.discovery(new URL(gatehouse.issuer), client_id, metadata, undefined, {
      execute: [openid.allowInsecureRequests],
    });
    const { email } = await openid.fetchUserInfo(config, tokens.access_token, tokens.claims()!.sub);
    assert.equal(email, gatehouse.account.email);
  });

  for (const alg of ['RS256', 'ES256'] as const) {
    it(`comes with an ID token that is signed with ${alg} where that is registered${alg === 'RS256' ? ' (oidcc-idtoken-rs256)' : ''}`, async () => {
      const its = await registerApplication(gatehouse, { id_token_signed_response_alg: alg });
      const { client_id, client_secret } = its;
      const { callback, checks } = await requestCode(gatehouse, its);
      const metadata = { client_secret, id_token_signed_response_alg: alg };
      const config = await openid.discovery(
        new URL(gatehouse.issuer),
        client_id,
        metadata,
        openid.ClientSecretBasic(),
        {
          execute: [openid.allowInsecureRequests],
        },
      );
      openid.enableNonRepudiationChecks(config);
      const tokens = await openid.authorizationCodeGrant(config, callback, checks);
      assert.equal(decodeProtectedHeader(tokens.id_token!).alg, alg);
    });
  }

  it('says how to authenticate to a request without a token (RFC 6750, 3; UI-01)', async () => {
    const { status, headers } = await ask();
    assert.equal([400, 401].includes(status), true);
    assert.match(headers.get('www-authenticate') ?? '', /^Bearer /);
  });

  it('takes a token in one place, and never from the query (UI-03)', async () => {
    const { access_token } = (await signIn(gatehouse, application)).tokens;
    const body = new URLSearchParams({ access_token });
    assert.equal([400, 401].includes((await ask({ method: 'POST', body, ...bearer(access_token) })).status), true);
    assert.equal([400, 401].includes((await ask({}, `?access_token=${access_token}`)).status), true);
  });

  for (const [what, authorization] of Object.entries({
    'no token': 'Bearer',
    'an empty token': 'Bearer ',
    'two tokens': 'Bearer a b',
    'an unknown token': `Bearer ${'x'.repeat(43)}`,
    'a NUL, percent-encoded': 'Bearer a%00b',
    'SQL metacharacters': "Bearer ' OR 1=1;--",
    'a very long token': `Bearer ${'x'.repeat(10_000)}`,
    'another scheme': 'Basic YTpi',
    'an unsigned JWT (UI-07)': 'Bearer eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0.eyJzdWIiOiJhIn0.',
    'something like a JWT': 'Bearer e30.e30.e30',
  })) {
    it(`refuses ${what}, and does not break (CVE-2026-9803)`, async () => {
      const { status } = await ask({ headers: { authorization } });
      assert.equal([400, 401].includes(status), true, `status ${status}`);
    });
  }

  it('refuses tokens that are for something else: of a client, for an API, to refresh, to identify (UI-05)', async () => {
    const { tokens } = await signIn(gatehouse, application);
    const api = await signIn(gatehouse, application, { scope: 'notes:read' });
    const own = await requestToken(gatehouse.url, gatehouse.demo);
    for (const token of [own, api.tokens.access_token, tokens.refresh_token!, tokens.id_token!]) {
      assert.equal((await ask(bearer(token))).status, 401);
    }
  });

  it('refuses the token of an account that was disabled', async () => {
    const { tokens } = await signIn(gatehouse, application);
    const { sub } = tokens.claims()!;
    assert.equal((await gatehouse.adminCall('POST', `/accounts/${sub}/disable`)).status, 200);
    assert.equal((await ask(bearer(tokens.access_token))).status, 401);
    assert.equal((await gatehouse.adminCall('POST', `/accounts/${sub}/enable`)).status, 200);
    assert.equal((await ask(bearer(tokens.access_token))).status, 401);
  });

  it('can be read by the pages of the public client that the token is of, and by no others (UI-09)', async () => {
    const spa = await registerPublicApplication(gatehouse);
    const { tokens } = await signIn(gatehouse, spa);
    const allowed = async (origin: string) => {
      const { headers } = await ask({ headers: { origin, ...bearer(tokens.access_token).headers } });
      assert.equal(headers.get('access-control-allow-credentials'), null);
      return headers.get('access-control-allow-origin');
    };
    const { origin } = new URL(REDIRECT_URI);
    assert.equal(await allowed(origin), origin);
    assert.equal(await allowed('https://evil.example'), null);
  });
});
