import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { createRemoteJWKSet, jwtVerify } from 'jose';
import * as oauth from 'oauth4webapi';
import { registerApplication, signIn } from '../support/client/code_flow.ts';
import { postForm, requestToken, startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { registerClient, type RegisteredClient } from '../support/node/operator.ts';

const SIGNED = 'application/token-introspection+jwt';

describe('signed introspection (RFC 9701)', () => {
  let gatehouse: Gatehouse;
  let client: RegisteredClient;
  let application: RegisteredClient;
  let resourceServer: RegisteredClient;
  before(async () => {
    gatehouse = await startGatehouse();
    client = await registerClient(gatehouse);
    application = await registerApplication(gatehouse);
    resourceServer = await registerClient(gatehouse, {
      resources: [],
      introspects: [gatehouse.demo.resource],
      introspection_signed_response_alg: 'ES256',
    });
  });
  after(() => gatehouse.stop());

  const ask = (token: string, who: RegisteredClient, accept = SIGNED) =>
    postForm(`${gatehouse.url}/introspect`, { token }, who, { accept });
  /** What the answer says, once a verifier that has our JWKS and nothing else is content with it. */
  const verified = async (response: Response, who: RegisteredClient, alg: string) => {
    assert.equal(response.status, 200);
    assert.equal(response.headers.get('content-type'), SIGNED);
    assert.equal(response.headers.get('cache-control'), 'no-store');
    const jwks = createRemoteJWKSet(new URL(`${gatehouse.issuer}/jwks`));
    const { payload } = await jwtVerify(await response.text(), jwks, {
      typ: 'token-introspection+jwt',
      issuer: gatehouse.issuer,
      audience: who.client_id,
      algorithms: [alg],
      maxTokenAge: 5,
    });
    return payload;
  };

  it('says of a JWT what the plain answer says, to the resource server that asks, and nothing beside it', async () => {
    const token = await requestToken(gatehouse.url, client);
    const plain = await (await ask(token, resourceServer, 'application/json')).json();
    assert.equal((plain as { active: boolean }).active, true);
    const { token_introspection, ...claims } = await verified(
      await ask(token, resourceServer),
      resourceServer,
      'ES256',
    );
    assert.deepEqual(token_introspection, plain);
    // 5: neither sub nor exp, so that it can't be taken for a token
    assert.deepEqual(Object.keys(claims).toSorted(), ['aud', 'iat', 'iss']);
  });

  it('says of an opaque token what the plain answer says, with RS256 for whom no algorithm was registered', async () => {
    const { tokens } = await signIn(gatehouse, application);
    for (const token of [tokens.access_token, tokens.refresh_token!]) {
      const plain = await (await ask(token, application, 'application/json')).json();
      const payload = await verified(await ask(token, application), application, 'RS256');
      assert.deepEqual(payload['token_introspection'], plain);
      assert.deepEqual(Object.keys(payload).toSorted(), ['aud', 'iat', 'iss', 'token_introspection']);
    }
  });

  it('is what oauth4webapi asks for and checks', async () => {
    const issuer = new URL(gatehouse.issuer);
    const insecure = { [oauth.allowInsecureRequests]: true };
    const server = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, insecure));
    const its = { client_id: resourceServer.client_id, introspection_signed_response_alg: 'ES256' };
    const authentication = oauth.ClientSecretBasic(resourceServer.client_secret);
    const token = await requestToken(gatehouse.url, client);
    const response = await oauth.introspectionRequest(server, its, authentication, token, {
      ...insecure,
      requestJwtResponse: true,
    });
    const answer = await oauth.processIntrospectionResponse(server, its, response);
    await oauth.validateApplicationLevelSignature(server, response, insecure);
    assert.equal(answer.active, true);
    assert.equal(answer.client_id, client.client_id);
  });

  it('says no as it says yes: signed, and nothing but that (INT-03)', async () => {
    const { tokens } = await signIn(gatehouse, application);
    const token = await requestToken(gatehouse.url, client);
    const revoked = await requestToken(gatehouse.url, client);
    await postForm(`${gatehouse.url}/revoke`, { token: revoked }, client);
    for (const [what, asked, who, alg] of [
      ['revoked', revoked, resourceServer, 'ES256'],
      ['unknown', 'unknown', resourceServer, 'ES256'],
      ['like a JWT', 'e30.e30.e30', resourceServer, 'ES256'],
      ['for another API', token, application, 'RS256'],
      ['another client’s', tokens.access_token, resourceServer, 'ES256'],
    ] as const) {
      const { token_introspection } = await verified(await ask(asked, who), who, alg);
      assert.deepEqual(token_introspection, { active: false }, what);
    }
  });

  it('is for an API that asks for it by name: all others get JSON', async () => {
    const token = await requestToken(gatehouse.url, client);
    for (const accept of [
      '*/*',
      'application/*',
      'application/json',
      'application/jwt',
      `application/json, ${SIGNED};q=0.5`,
    ]) {
      const response = await ask(token, resourceServer, accept);
      assert.match(response.headers.get('content-type') ?? '', /^application\/json/, accept);
      assert.equal(((await response.json()) as { active: boolean }).active, true);
    }
    for (const accept of [SIGNED.toUpperCase(), `application/json;q=0.5, ${SIGNED}`]) {
      await verified(await ask(token, resourceServer, accept), resourceServer, 'ES256');
    }
  });

  it('is refused in plain JSON to a client that has not authenticated (INT-01)', async () => {
    const token = await requestToken(gatehouse.url, client);
    const nobody = await fetch(`${gatehouse.url}/introspect`, {
      method: 'POST',
      headers: { accept: SIGNED },
      body: new URLSearchParams({ token }),
    });
    const wrong = await ask(token, { ...resourceServer, client_secret: 'wrong' });
    for (const [response, error] of [
      [nobody, 'invalid_request'],
      [wrong, 'invalid_client'],
    ] as const) {
      assert.equal([400, 401].includes(response.status), true);
      assert.match(response.headers.get('content-type') ?? '', /^application\/json/);
      assert.equal(((await response.json()) as { error: string }).error, error);
    }
  });

  it('is no token itself: neither here nor at userinfo is it taken for one', async () => {
    const token = await requestToken(gatehouse.url, client);
    const answer = await (await ask(token, resourceServer)).text();
    for (const who of [resourceServer, client]) {
      assert.deepEqual(await (await ask(answer, who, 'application/json')).json(), { active: false });
    }
    const userinfo = await fetch(`${gatehouse.url}/userinfo`, { headers: { authorization: `Bearer ${answer}` } });
    await userinfo.body?.cancel();
    assert.equal(userinfo.status, 401);
  });
});
