import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import * as oauth from 'oauth4webapi';
import * as openid from 'openid-client';
import {
  basic,
  configure,
  REDIRECT_URI,
  registerApplication,
  registerPublicApplication,
  signIn,
} from '../support/client/code_flow.ts';
import { postForm, requestToken, startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { registerClient, type RegisteredClient } from '../support/node/operator.ts';

describe('revocation (RFC 7009)', () => {
  let gatehouse: Gatehouse;
  let client: RegisteredClient;
  let application: RegisteredClient;
  before(async () => {
    gatehouse = await startGatehouse();
    client = await registerClient(gatehouse);
    application = await registerApplication(gatehouse);
  });
  after(() => gatehouse.stop());

  const revoke = (token: string, who: RegisteredClient, form: Record<string, string> = {}) =>
    postForm(`${gatehouse.url}/revoke`, { token, ...form }, who);
  const isActive = async (token: string, who: RegisteredClient): Promise<boolean> => {
    const response = await postForm(`${gatehouse.url}/introspect`, { token }, who);
    return ((await response.json()) as { active: boolean }).active;
  };
  const userinfo = async (token: string): Promise<number> => {
    const response = await fetch(`${gatehouse.url}/userinfo`, { headers: { authorization: `Bearer ${token}` } });
    await response.body?.cancel();
    return response.status;
  };

  it('ends a JWT access token, as openid-client asks for it', async () => {
    const token = await requestToken(gatehouse.url, client);
    await openid.tokenRevocation(await configure(gatehouse, client), token);
    assert.equal(await isActive(token, client), false);
  });

  it('ends one token and no other of the same client', async () => {
    const [one, other] = [await requestToken(gatehouse.url, client), await requestToken(gatehouse.url, client)];
    await revoke(one, client);
    assert.equal(await isActive(one, client), false);
    assert.equal(await isActive(other, client), true);
  });

  it('ends an opaque access token: userinfo refuses it', async () => {
    const { tokens } = await signIn(gatehouse, application);
    assert.equal(await userinfo(tokens.access_token), 200);
    assert.equal((await revoke(tokens.access_token, application)).status, 200);
    assert.equal(await userinfo(tokens.access_token), 401);
  });

  it('of a refresh token ends the access tokens of its grant: opaque ones and JWTs (REV-04)', async () => {
    const { tokens, config } = await signIn(gatehouse, application);
    assert.equal((await revoke(tokens.refresh_token!, application)).status, 200);
    assert.equal(await userinfo(tokens.access_token), 401);
    await assert.rejects(openid.refreshTokenGrant(config, tokens.refresh_token!), { error: 'invalid_grant' });

    const api = await signIn(gatehouse, application, { scope: 'notes:read' });
    assert.equal(await isActive(api.tokens.access_token, application), true);
    await revoke(api.tokens.refresh_token!, application);
    assert.equal(await isActive(api.tokens.access_token, application), false);
  });

  it('can be asked for twice', async () => {
    const token = await requestToken(gatehouse.url, client);
    assert.equal((await revoke(token, client)).status, 200);
    assert.equal((await revoke(token, client)).status, 200);
  });

  it('can be asked for by a public client, for its own tokens', async () => {
    const spa = await registerPublicApplication(gatehouse);
    const { tokens } = await signIn(gatehouse, spa);
    const insecure = { [oauth.allowInsecureRequests]: true };
    const issuer = new URL(gatehouse.issuer);
    const server = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, insecure));
    const its = { client_id: spa.client_id };
    const answer = await oauth.revocationRequest(server, its, oauth.None(), tokens.access_token, insecure);
    await oauth.processRevocationResponse(answer);
    assert.equal(await userinfo(tokens.access_token), 401);
  });

  it('helps no client to end the tokens of another one', async () => {
    const jwt = await requestToken(gatehouse.url, client);
    const { tokens } = await signIn(gatehouse, application);
    for (const [token, thief, owner] of [
      [jwt, application, client],
      [tokens.access_token, client, application],
      [tokens.refresh_token!, client, application],
    ] as const) {
      const response = await revoke(token, thief);
      assert.equal(response.status, 400);
      assert.equal(((await response.json()) as { error: string }).error, 'invalid_request');
      assert.equal(await isActive(token, owner), true);
    }
  });

  it('of an unknown token is answered as if it had been done (REV-02)', async () => {
    for (const token of ['unknown-token', 'e30.e30.e30', "' OR 1=1;--", '..', 'a\0b', 'x'.repeat(40_000)]) {
      assert.equal((await revoke(token, client)).status, 200, token.slice(0, 20));
    }
  });

  it('finds the token with any hint', async () => {
    for (const token_type_hint of ['refresh_token', 'access_token', 'nonsense']) {
      const token = await requestToken(gatehouse.url, client);
      assert.equal((await revoke(token, client, { token_type_hint })).status, 200);
      assert.equal(await isActive(token, client), false, token_type_hint);
    }
  });

  it('answers with nothing: no body, and no content type that a client could stumble over', async () => {
    const { tokens } = await signIn(gatehouse, application);
    for (const [token, who] of [
      [await requestToken(gatehouse.url, client), client],
      [tokens.access_token, application],
      ['unknown', client],
    ] as const) {
      const response = await revoke(token, who);
      assert.equal(response.status, 200);
      assert.equal(await response.text(), '');
      assert.equal(response.headers.get('content-type'), null);
    }
  });

  it('wants to know who asks', async () => {
    const token = await requestToken(gatehouse.url, client);
    const wrong = await revoke(token, { ...client, client_secret: 'wrong' });
    assert.equal(wrong.status, 401);
    const nobody = await fetch(`${gatehouse.url}/revoke`, { method: 'POST', body: new URLSearchParams({ token }) });
    assert.equal([400, 401].includes(nobody.status), true);
    assert.equal(await isActive(token, client), true);
  });

  it('is a POST with a token', async () => {
    const authorization = basic(client.client_id, client.client_secret);
    const read = await fetch(`${gatehouse.url}/revoke?token=x`, { headers: { authorization } });
    await read.body?.cancel();
    assert.equal([404, 405].includes(read.status), true);
    assert.equal((await postForm(`${gatehouse.url}/revoke`, {}, client)).status, 400);
  });

  it('can be asked for by a page of a public client, and by no other page', async () => {
    const spa = await registerPublicApplication(gatehouse);
    const body = new URLSearchParams({ token: 'x', client_id: spa.client_id });
    const allowed = async (origin: string) =>
      (await fetch(`${gatehouse.url}/revoke`, { method: 'POST', headers: { origin }, body })).headers.get(
        'access-control-allow-origin',
      );
    const { origin } = new URL(REDIRECT_URI);
    assert.equal(await allowed(origin), origin);
    assert.equal(await allowed('https://evil.example'), null);
  });
});
