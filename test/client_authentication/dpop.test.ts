import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { decodeJwt } from 'jose';
import { sql } from 'kysely';
import * as oauth from 'oauth4webapi';
import * as openid from 'openid-client';
import { moveClock, resetClock } from '../support/node/clock.ts';
import {
  configure,
  REDIRECT_URI,
  registerApplication,
  registerPublicApplication,
  requestCode,
} from '../support/client/code_flow.ts';
import { makeProofKey, type ProofKey } from '../support/client/dpop.ts';
import { codeForm, openDpopScene, read, type DpopScene } from '../support/client/dpop_nodes.ts';
import { postForm, requestToken, type Gatehouse } from '../support/node/gatehouse.ts';
import type { RegisteredClient } from '../support/node/operator.ts';

describe('DPoP (RFC 9449)', () => {
  let scene: DpopScene;
  let gatehouse: Gatehouse;
  let second: Gatehouse;
  let client: RegisteredClient;
  let spa: RegisteredClient;
  let key: ProofKey;
  let proof: DpopScene['proof'];
  let ask: DpopScene['ask'];
  let refuses: DpopScene['refuses'];
  let boundTokens: DpopScene['boundTokens'];
  before(async () => {
    scene = await openDpopScene();
    ({ gatehouse, second, client, spa, key, proof, ask, refuses, boundTokens } = scene);
  });
  after(() => scene.stop());
  afterEach(resetClock);

  const tokenUrl = (): string => `${gatehouse.issuer}/token`;

  it('DPOP-00: gives a token that is bound to the key of a valid proof', async () => {
    const { status, body } = await ask(await proof());
    assert.deepEqual([status, body['token_type']], [200, 'DPoP']);
    assert.deepEqual(decodeJwt(String(body['access_token']))['cnf'], { jkt: key.thumbprint });
  });

  describe('as independent clients speak it:', () => {
    it('openid-client binds a code, its tokens, a refresh and userinfo to its key', async () => {
      const application = await registerApplication(gatehouse, { dpop_bound_access_tokens: true });
      const { config, callback, checks } = await requestCode(gatehouse, application);
      const DPoP = openid.getDPoPHandle(config, await openid.randomDPoPKeyPair());
      const tokens = await openid.authorizationCodeGrant(config, callback, checks, undefined, { DPoP });
      assert.equal(tokens.token_type, 'dpop');
      const { sub } = tokens.claims()!;
      assert.equal((await openid.fetchUserInfo(config, tokens.access_token, sub, { DPoP })).sub, sub);
      const renewed = await openid.refreshTokenGrant(config, tokens.refresh_token!, undefined, { DPoP });
      assert.equal((await openid.fetchUserInfo(config, renewed.access_token, sub, { DPoP })).sub, sub);
    });

    for (const alg of ['ES256', 'Ed25519'] as const) {
      it(`openid-client gets a token by client credentials with ${alg}, and introspection shows the key`, async () => {
        const config = await configure(gatehouse, client);
        const DPoP = openid.getDPoPHandle(config, await openid.randomDPoPKeyPair(alg));
        const { access_token } = await openid.clientCredentialsGrant(config, undefined, { DPoP });
        const told = await openid.tokenIntrospection(config, access_token);
        assert.equal(told.token_type, 'DPoP');
        assert.equal(told.cnf?.jkt, await DPoP.calculateThumbprint());
      });
    }

    it('oauth4webapi takes a nonce from one node to another, and a fresh one when its own is too old', async () => {
      const insecure = { [oauth.allowInsecureRequests]: true };
      const its: oauth.Client = { client_id: client.client_id };
      const server = { issuer: gatehouse.issuer, token_endpoint: tokenUrl() };
      const nonces: (string | undefined)[] = [];
      const DPoP = oauth.DPoP(its, await oauth.generateKeyPair('ES256'), {
        [oauth.modifyAssertion]: (_, payload) => void nonces.push(payload['nonce'] as string | undefined),
      });
      const grant = async (at: Gatehouse): Promise<oauth.TokenEndpointResponse> => {
        const authentication = oauth.ClientSecretBasic(client.client_secret);
        const toNode: typeof fetch = (_, init) => fetch(`${at.url}/token`, init);
        const options = {
          ...insecure,
          DPoP,
          [oauth.customFetch]: toNode,
        } as oauth.ClientCredentialsGrantRequestOptions;
        const answer = await oauth.clientCredentialsGrantRequest(server, its, authentication, {}, options);
        return oauth.processClientCredentialsResponse(server, its, answer);
      };
      await grant(gatehouse);
      assert.equal((await grant(second)).token_type, 'dpop');
      assert.equal(nonces[0], undefined);
      assert.match(nonces[1] ?? '', /^[\w-]{43}$/);

      moveClock(600);
      await assert.rejects(grant(gatehouse), (error) => oauth.isDPoPNonceError(error));
      assert.equal((await grant(second)).token_type, 'dpop');
      assert.equal(new Set(nonces.slice(1)).size, 2);
    });
  });

  describe('a client with dpop_bound_access_tokens', () => {
    it('gets no token without a proof', async () => {
      await refuses(undefined);
      await refuses('');
    });

    it('can still redeem its code with a proof after it forgot one', async () => {
      const application = await registerApplication(gatehouse, { dpop_bound_access_tokens: true });
      const form = codeForm(await requestCode(gatehouse, application));
      const forgotten = await ask(undefined, form, { who: application });
      assert.deepEqual([forgotten.status, forgotten.body['error']], [400, 'invalid_dpop_proof']);
      const { refresh_token } = (await ask(await proof(), form, { who: application })).body;
      const refresh = { grant_type: 'refresh_token', refresh_token: String(refresh_token) };
      assert.equal((await ask(undefined, refresh, { who: application })).body['error'], 'invalid_dpop_proof');
      assert.equal((await ask(await proof(), refresh, { who: application })).status, 200);
    });

    it('is made by the admin API, which takes true and false and nothing else', async () => {
      const resources = [{ resource: gatehouse.demo.resource, scopes: ['notes:read'] }];
      const wrong = await gatehouse.adminCall('POST', '/clients', { resources, dpop_bound_access_tokens: 'yes' });
      assert.equal(wrong.status, 400);
      const made = await gatehouse.adminCall('POST', '/clients', { resources, dpop_bound_access_tokens: true });
      const its = (await made.json()) as RegisteredClient & { dpop_bound_access_tokens: boolean };
      assert.equal(its.dpop_bound_access_tokens, true);
      assert.equal((await ask(undefined, {}, { who: its })).body['error'], 'invalid_dpop_proof');
      const freed = await gatehouse.adminCall(
        'PATCH',
        `/clients/${its.client_id}`,
        { dpop_bound_access_tokens: false },
        { 'if-match': '*' },
      );
      assert.equal(freed.status, 200);
      assert.equal((await ask(undefined, {}, { who: its })).body['token_type'], 'Bearer');
    });
  });

  describe('a code that was asked for with dpop_jkt (RFC 9449, 10)', () => {
    const boundCode = async (): Promise<Record<string, string>> =>
      codeForm(await requestCode(gatehouse, spa, { parameters: { dpop_jkt: key.thumbprint } }));

    it('is worth nothing with another key', async () => {
      const answer = await ask(await proof({}, await makeProofKey()), await boundCode(), { who: spa });
      assert.deepEqual([answer.status, answer.body['error']], [400, 'invalid_grant']);
    });

    it('waits for its key when a client tries without a proof', async () => {
      const form = await boundCode();
      const stolen = await ask(undefined, form, { who: spa });
      assert.deepEqual([stolen.status, stolen.body['error']], [400, 'invalid_dpop_proof']);
      assert.equal((await ask(await proof(), form, { who: spa })).body['token_type'], 'DPoP');
    });

    it('tells another client nothing about that', async () => {
      const other = await registerPublicApplication(gatehouse);
      assert.equal((await ask(undefined, await boundCode(), { who: other })).body['error'], 'invalid_grant');
    });
  });

  describe('the refresh token of a public client', () => {
    it('DPOP-22: is bound to the key: neither another key nor none renews it, and its owner still can', async () => {
      const { refresh_token } = await boundTokens();
      const form = { grant_type: 'refresh_token', refresh_token };
      const foreign = await ask(await proof({}, await makeProofKey()), form, { who: spa });
      assert.deepEqual([foreign.status, foreign.body['error']], [400, 'invalid_grant']);
      const unproved = await ask(undefined, form, { who: spa });
      assert.deepEqual([unproved.status, unproved.body['error']], [400, 'invalid_dpop_proof']);

      const renewed = await ask(await proof(), form, { who: spa });
      assert.equal(renewed.body['token_type'], 'DPoP');
      const next = { grant_type: 'refresh_token', refresh_token: String(renewed.body['refresh_token']) };
      const later = await ask(await proof({}, await makeProofKey()), next, { who: spa });
      assert.equal(later.body['error'], 'invalid_grant');
    });
  });

  it('lets the pages of a public client read the nonce (CORS)', async () => {
    const callback = await requestCode(gatehouse, spa);
    const form = { ...codeForm(callback), client_id: spa.client_id };
    const headers = { DPoP: await proof(), origin: new URL(REDIRECT_URI).origin };
    const answer = await read(await postForm(tokenUrl(), form, undefined, headers));
    assert.equal(answer.status, 200);
    assert.match(answer.headers.get('access-control-expose-headers') ?? '', /DPoP-Nonce/);
  });

  it('leaves a client that brings no proof alone: a bearer token, without a read or a write but the audit event', async () => {
    // through the admin API: when it answers, the node knows the change and won't drop the client again
    const { resource, scope } = gatehouse.demo;
    const resources = [{ resource, scopes: scope.split(' ') }];
    const registered = await gatehouse.adminCall('POST', '/clients', {
      grant_types: ['client_credentials'],
      resources,
    });
    const plain = (await registered.json()) as { client_id: string; client_secret: string };
    await requestToken(gatehouse.url, plain);
    const tables = await sql<{ name: string }>`select table_name as name from information_schema.tables
      where table_schema = 'public' and table_type = 'BASE TABLE' and table_name not like 'audit\\_%'`.execute(
      gatehouse.database,
    );
    assert.equal(tables.rows.length > 10, true);
    const inTime = async (milliseconds: number, headers: Record<string, string> = {}): Promise<Response> => {
      const authorization = `Basic ${Buffer.from(`${plain.client_id}:${plain.client_secret}`).toString('base64')}`;
      return fetch(`${gatehouse.url}/token`, {
        method: 'POST',
        headers: { authorization, ...headers },
        body: new URLSearchParams({ grant_type: 'client_credentials' }),
        signal: AbortSignal.timeout(milliseconds),
      });
    };
    await gatehouse.database.transaction().execute(async (tx) => {
      const names = sql.join(tables.rows.map(({ name }) => sql.table(name)));
      await sql`lock table ${names} in access exclusive mode`.execute(tx);
      const { body } = await read(await inTime(4_000));
      assert.equal(body['token_type'], 'Bearer');
      assert.equal(decodeJwt(String(body['access_token']))['cnf'], undefined);
      // a proof is remembered, so this one has to wait: the tables are closed indeed
      await assert.rejects(inTime(700, { DPoP: await proof() }), { name: 'TimeoutError' });
    });
  });
});
