import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { decodeJwt, generateKeyPair, SignJWT } from 'jose';
import * as openid from 'openid-client';
import { moveClock, resetClock } from '../support/node/clock.ts';
import {
  basic,
  configure,
  registerApplication,
  registerPublicApplication,
  signIn,
} from '../support/client/code_flow.ts';
import { postForm, requestToken, startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { registerClient, registerResource, type RegisteredClient } from '../support/node/operator.ts';

describe('introspection (RFC 7662)', () => {
  let gatehouse: Gatehouse;
  let client: RegisteredClient;
  let application: RegisteredClient;
  let resourceServer: RegisteredClient;
  before(async () => {
    gatehouse = await startGatehouse();
    client = await registerClient(gatehouse);
    application = await registerApplication(gatehouse);
    resourceServer = await registerClient(gatehouse, { resources: [], introspects: [gatehouse.demo.resource] });
  });
  after(() => gatehouse.stop());
  afterEach(resetClock);

  const introspect = async (token: string, who: RegisteredClient = resourceServer) => {
    const response = await postForm(`${gatehouse.url}/introspect`, { token }, who);
    assert.equal(response.status, 200);
    assert.equal(response.headers.get('cache-control'), 'no-store');
    return (await response.json()) as Record<string, unknown>;
  };
  const INACTIVE = { active: false };

  describe('by a client without grant types', () => {
    let only: RegisteredClient;
    before(async () => {
      const members = { grant_types: [], resources: [], introspects: [gatehouse.demo.resource] };
      only = await registerClient(gatehouse, members);
    });

    it('tells it about the tokens for its API, on both paths (FIELD-C15b)', async () => {
      const token = await requestToken(gatehouse.url, client);
      assert.equal((await introspect(token, only))['active'], true);
      const { url } = gatehouse;
      // the fast path leaves a request with a parameter that it does not know to the ordinary path
      const response = await postForm(`${url}/introspect`, { token, token_type_hint: 'x', other: 'x' }, only);
      assert.equal(((await response.json()) as { active: boolean }).active, true);
    });

    it('gives it no token, whatever it asks for (FIELD-C15b)', async () => {
      const { url } = gatehouse;
      for (const form of [
        { grant_type: 'client_credentials' },
        { grant_type: 'refresh_token', refresh_token: 'x' },
        { grant_type: 'authorization_code', code: 'x', redirect_uri: 'https://app.example.com/cb' },
      ]) {
        const response = await postForm(`${url}/token`, form, only);
        assert.deepEqual(
          [response.status, ((await response.json()) as { error: string }).error],
          [400, 'unauthorized_client'],
        );
      }
      const asked = new URLSearchParams({ client_id: only.client_id, response_type: 'code' });
      const page = await fetch(`${url}/authorize?${asked}`, { redirect: 'manual' });
      assert.equal(page.status, 400);
      await page.body?.cancel();
    });

    it('is nothing for a client that does not authenticate (FIELD-C15b)', async () => {
      const members = { grant_types: [], token_endpoint_auth_method: 'none' };
      const refused = await gatehouse.adminCall('POST', '/clients', members);
      assert.equal(refused.status, 400);
      assert.match(await refused.text(), /must name at least one grant type/);
    });
  });

  describe('of a JWT', () => {
    it('tells the resource server that it is for what it needs, without internal members', async () => {
      const token = await requestToken(gatehouse.url, client);
      const { iat, exp, jti, ...told } = await introspect(token);
      assert.deepEqual(told, {
        active: true,
        iss: gatehouse.issuer,
        sub: client.client_id,
        aud: gatehouse.demo.resource,
        client_id: client.client_id,
        scope: 'notes:read notes:write',
        token_type: 'Bearer',
      });
      const claims = decodeJwt(token);
      assert.deepEqual([iat, exp, jti], [claims.iat, claims.exp, claims.jti]);
    });

    it('tells a client about its own, as openid-client asks', async () => {
      const token = await requestToken(gatehouse.url, client);
      const answer = await openid.tokenIntrospection(await configure(gatehouse, client), token);
      assert.equal(answer.active, true);
      assert.equal(answer.client_id, client.client_id);
    });

    it('tells other clients nothing: not another client, not the resource server of another API', async () => {
      const token = await requestToken(gatehouse.url, client);
      const files = await registerResource(gatehouse, 'files');
      const otherServer = await registerClient(gatehouse, { resources: [], introspects: [files.resource] });
      assert.deepEqual(await introspect(token, application), INACTIVE);
      assert.deepEqual(await introspect(token, otherServer), INACTIVE);
    });

    it('says no when it has expired', async () => {
      const token = await requestToken(gatehouse.url, client);
      moveClock(599);
      assert.equal((await introspect(token))['active'], true);
      moveClock(2);
      assert.deepEqual(await introspect(token), INACTIVE);
    });

    it('says no to what we did not sign, or did not sign as an access token', async () => {
      const { privateKey } = await generateKeyPair('ES256');
      const genuine = await requestToken(gatehouse.url, client);
      const [header = '', payload = '', signature = ''] = genuine.split('.');
      const kid = (JSON.parse(Buffer.from(header, 'base64url').toString()) as { kid: string }).kid;
      const forged = await new SignJWT(decodeJwt(genuine))
        .setProtectedHeader({ alg: 'ES256', typ: 'at+jwt', kid })
        .sign(privateKey);
      const none = `${Buffer.from('{"alg":"none","typ":"at+jwt"}').toString('base64url')}.${payload}.`;
      const wider = Buffer.from(JSON.stringify({ ...decodeJwt(genuine), scope: 'everything' })).toString('base64url');
      const { tokens } = await signIn(gatehouse, application);
      for (const token of [forged, none, `${header}.${wider}.${signature}`, tokens.id_token!]) {
        assert.deepEqual(await introspect(token), INACTIVE);
        assert.deepEqual(await introspect(token, application), INACTIVE);
      }
    });
  });

  describe('of an opaque token', () => {
    it('tells its client, and no resource server', async () => {
      const { tokens } = await signIn(gatehouse, application, { scope: 'openid email' });
      const own = await introspect(tokens.access_token, application);
      assert.equal(own['active'], true);
      assert.equal(own['scope'], 'openid email');
      assert.equal(own['sub'], tokens.claims()!.sub);
      assert.deepEqual(await introspect(tokens.access_token), INACTIVE);
      assert.deepEqual(await introspect(tokens.access_token, client), INACTIVE);
    });

    it('tells the client about its refresh token, and no other client', async () => {
      const { tokens } = await signIn(gatehouse, application);
      assert.equal((await introspect(tokens.refresh_token!, application))['active'], true);
      assert.deepEqual(await introspect(tokens.refresh_token!), INACTIVE);
    });

    it('says no when it has expired', async () => {
      const { tokens } = await signIn(gatehouse, application);
      moveClock(601);
      assert.deepEqual(await introspect(tokens.access_token, application), INACTIVE);
    });
  });

  for (const [what, token] of Object.entries({
    'SQL metacharacters (INT-07)': "' OR 1=1;--",
    'a NUL': 'a\0b',
    'something like a JWT': 'e30.e30.e30',
    'two dots': '..',
    'a very long text': 'x'.repeat(40_000),
    'a very long text with dots': `${'x'.repeat(20_000)}.${'y'.repeat(20_000)}.z`,
    'a session id that is none': 'gatehouse_session',
  })) {
    it(`says no to ${what}, and does not break`, async () => assert.deepEqual(await introspect(token), INACTIVE));
  }

  it('takes no session or code for a token: kinds are kept apart (CVE-2026-4282)', async () => {
    const { person, code } = await signIn(gatehouse, application);
    const session = person.cookies.get('gatehouse_session')!.value;
    for (const token of [session, code]) assert.deepEqual(await introspect(token, application), INACTIVE);
  });

  it('wants to know who asks (INT-01)', async () => {
    const token = await requestToken(gatehouse.url, client);
    const nobody = await fetch(`${gatehouse.url}/introspect`, { method: 'POST', body: new URLSearchParams({ token }) });
    assert.equal([400, 401].includes(nobody.status), true);
    assert.equal('active' in ((await nobody.json()) as object), false);
    const wrong = await postForm(`${gatehouse.url}/introspect`, { token }, { ...client, client_secret: 'wrong' });
    assert.equal(wrong.status, 401);
    assert.equal('active' in ((await wrong.json()) as object), false);
  });

  it('tells a public client nothing, because any sender can name it', async () => {
    const spa = await registerPublicApplication(gatehouse);
    const { tokens } = await signIn(gatehouse, spa, { scope: 'notes:read' });
    assert.equal((await introspect(tokens.access_token))['active'], true);
    const response = await fetch(`${gatehouse.url}/introspect`, {
      method: 'POST',
      body: new URLSearchParams({ token: tokens.access_token, client_id: spa.client_id }),
    });
    assert.notEqual(((await response.json()) as { active?: boolean }).active, true);
  });

  it('is a POST (INT-05)', async () => {
    const url = `${gatehouse.url}/introspect?token=x`;
    const { client_id, client_secret } = client;
    const response = await fetch(url, { headers: { authorization: basic(client_id, client_secret) } });
    await response.body?.cancel();
    assert.equal([404, 405].includes(response.status), true);
  });
});
