import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import * as oauth from 'oauth4webapi';
import * as openid from 'openid-client';
import { certify, fetchWith, type Certified } from '../support/network/certificates.ts';
import { moveClock, resetClock } from '../support/node/clock.ts';
import { basic } from '../support/client/code_flow.ts';
import { athOf, makeProofKey, prove, type ProofKey, type ProofParts } from '../support/client/dpop.ts';
import { requestToken, startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { registerClient, type RegisteredClient } from '../support/node/operator.ts';
import { startWithTls, type TlsScene } from '../support/network/tls_listener.ts';

/** A client with admin scopes whose tokens are bound to a key. */
const boundAdmin = (gatehouse: Gatehouse, scopes = ['clients:read']): Promise<RegisteredClient> =>
  registerClient(gatehouse, {
    dpop_bound_access_tokens: true,
    resources: [{ resource: gatehouse.admin.resource, scopes }],
  });

describe('an admin token that is bound to a key', () => {
  let gatehouse: Gatehouse;
  let second: Gatehouse;
  let client: RegisteredClient;
  let key: ProofKey;
  let token = '';
  before(async () => {
    gatehouse = await startGatehouse({ path: '/id' });
    second = await startGatehouse({ beside: gatehouse, path: '/id' });
    client = await boundAdmin(gatehouse);
    key = await makeProofKey();
    token = await boundToken(key);
  });
  after(async () => {
    await second.stop();
    await gatehouse.stop();
  });
  afterEach(resetClock);

  async function boundToken(by: ProofKey): Promise<string> {
    const response = await fetch(`${gatehouse.url}/token`, {
      method: 'POST',
      headers: {
        DPoP: await prove(by, ['POST', `${gatehouse.issuer}/token`]),
        authorization: basic(client.client_id, client.client_secret),
      },
      body: new URLSearchParams({ grant_type: 'client_credentials' }),
    });
    return ((await response.json()) as { access_token: string }).access_token;
  }
  const address = (): string => `${gatehouse.issuer}/admin/v1/clients`;
  const proof = (parts: ProofParts = {}, by = key): Promise<string> =>
    prove(by, ['GET', address()], { ...parts, claims: { ath: athOf(token), ...parts.claims } });
  const call = async (headers: Readonly<Record<string, string>>, node = gatehouse, path = '/clients?limit=1') => {
    const response = await fetch(`${node.url}/admin/v1${path}`, { headers });
    const challenge = response.headers.get('www-authenticate') ?? '';
    const said = await response.text();
    return { status: response.status, challenge, headers: response.headers, said };
  };
  const bound = async (dpop: string, node?: Gatehouse) => call({ authorization: `DPoP ${token}`, DPoP: dpop }, node);

  it('is taken with a proof, once on all nodes together (FIELD-E10)', async () => {
    const single = await proof();
    const answer = await bound(single);
    assert.equal(answer.status, 200, answer.said);
    for (const node of [gatehouse, second]) {
      const again = await bound(single, node);
      assert.equal(again.status, 401);
      assert.match(again.challenge, /DPoP realm="[^"]+", error="invalid_dpop_proof".*algs="ES256 Ed25519 EdDSA"/);
    }
    const replayed = await gatehouse.database
      .selectFrom('audit_events')
      .select('outcome')
      .where('event', '=', 'dpop_proof.replayed')
      .execute();
    assert.equal(replayed.length, 2);
  });

  it('is refused as a bearer token, and without a proof (FIELD-E10)', async () => {
    const bearer = await call({ authorization: `Bearer ${token}`, DPoP: await proof() });
    assert.equal(bearer.status, 401);
    assert.match(
      bearer.challenge,
      /Bearer realm="[^"]+", error="invalid_token", error_description="[^"]*send it as DPoP/,
    );
    assert.match(bearer.challenge, /DPoP realm="[^"]+", algs="ES256/);
    assert.match(bearer.said, /send it as DPoP/);
    const bare = await call({ authorization: `DPoP ${token}` });
    assert.equal(bare.status, 401);
    assert.match(
      bare.challenge,
      /DPoP realm="[^"]+", error="invalid_dpop_proof", error_description="a DPoP proof is required"/,
    );
  });

  for (const [what, parts] of [
    ['another method', { claims: { htm: 'POST' } }],
    ['another path', { claims: { htu: 'http://127.0.0.1/id/admin/v1/clients/x' } }],
    ['another host', { claims: { htu: 'https://evil.example/id/admin/v1/clients' } }],
    ['another token', { claims: { ath: athOf('another') } }],
    ['no token', { claims: { ath: undefined } }],
    ['a time long ago', { claims: { iat: Math.floor(Date.now() / 1_000) - 400 } }],
    ['a time to come', { claims: { iat: Math.floor(Date.now() / 1_000) + 400 } }],
    ['no identifier', { claims: { jti: undefined } }],
    ['another type', { header: { typ: 'jwt' } }],
  ] as const) {
    it(`is refused with a proof for ${what} (FIELD-E10)`, async () => {
      const answer = await bound(await proof(parts));
      assert.equal(answer.status, 401, answer.said);
      assert.match(answer.challenge, /DPoP realm="[^"]+", error="invalid_dpop_proof"/);
    });
  }

  it('is refused with two proofs, with one that is no JWT, and with that of another key (FIELD-E10)', async () => {
    const two = new Headers({ authorization: `DPoP ${token}` });
    two.append('DPoP', await proof());
    two.append('DPoP', await proof());
    assert.equal((await fetch(`${gatehouse.url}/admin/v1/clients`, { headers: two })).status, 401);
    assert.equal((await bound('nonsense')).status, 401);
    const foreign = await bound(await proof({}, await makeProofKey()));
    assert.equal(foreign.status, 401);
    assert.match(foreign.challenge, /DPoP realm="[^"]+", error="invalid_token"/);
  });

  it('answers a nonce that is over with the next one (FIELD-E10)', async () => {
    const over = await bound(await proof({ claims: { nonce: 'A'.repeat(43) } }));
    assert.equal(over.status, 401);
    assert.match(over.challenge, /DPoP realm="[^"]+", error="use_dpop_nonce"/);
    const nonce = over.headers.get('dpop-nonce')!;
    assert.equal((await bound(await proof({ claims: { nonce } }), second)).status, 200);
    moveClock(600);
    token = await boundToken(key);
    const late = await bound(await proof({ claims: { nonce } }));
    assert.match(late.challenge, /error="use_dpop_nonce"/);
    resetClock();
    token = await boundToken(key);
  });

  it('needs the scope of the call, and is told so in its own scheme (FIELD-E10)', async () => {
    const elsewhere = `${gatehouse.issuer}/admin/v1/keys`;
    const DPoP = await prove(key, ['GET', elsewhere], { claims: { ath: athOf(token) } });
    const answer = await call({ authorization: `dpop ${token}`, DPoP }, gatehouse, '/keys');
    assert.equal(answer.status, 403);
    assert.match(answer.challenge, /^DPoP error="insufficient_scope", scope="keys:read"/);
  });

  it('is what openid-client and oauth4webapi call with, nonces included (FIELD-E10)', async () => {
    const { client_id, client_secret } = client;
    const options = { execute: [openid.allowInsecureRequests] };
    const secret = openid.ClientSecretBasic(client_secret);
    const config = await openid.discovery(new URL(gatehouse.issuer), client_id, undefined, secret, options);
    const keys = await openid.randomDPoPKeyPair('ES256');
    const DPoP = openid.getDPoPHandle(config, keys);
    const granted = await openid.clientCredentialsGrant(config, {}, { DPoP });
    assert.equal(granted.token_type, 'dpop');
    for (let round = 0; round < 2; round++) {
      const url = new URL(`${address()}?limit=1`);
      const answer = await openid.fetchProtectedResource(config, granted.access_token, url, 'GET', null, undefined, {
        DPoP,
      });
      assert.equal(answer.status, 200);
      await answer.body?.cancel();
    }
    const handle = oauth.DPoP({}, keys);
    const url = new URL(address());
    const insecure = { [oauth.allowInsecureRequests]: true, DPoP: handle };
    const answer = await oauth.protectedResourceRequest(granted.access_token, 'GET', url, undefined, null, insecure);
    assert.equal(answer.status, 200);
    await assert.rejects(
      oauth.protectedResourceRequest(granted.access_token, 'GET', url, undefined, null, {
        [oauth.allowInsecureRequests]: true,
      }),
      (error: oauth.WWWAuthenticateChallengeError) =>
        error.cause.some(({ scheme, parameters }) => scheme === 'bearer' && parameters.error === 'invalid_token'),
    );
  });

  it('leaves plain bearer tokens as they were, and refuses those sent as if they were bound (FIELD-E10)', async () => {
    const plain = await requestToken(gatehouse.url, gatehouse.admin);
    assert.equal((await call({ authorization: `Bearer ${plain}` })).status, 200);
    const DPoP = await prove(key, ['GET', address()], { claims: { ath: athOf(plain) } });
    const answer = await call({ authorization: `DPoP ${plain}`, DPoP });
    assert.equal(answer.status, 401);
    assert.match(answer.challenge, /DPoP realm="[^"]+", error="invalid_token"/);
  });

  it('is announced in the metadata of the admin API (FIELD-E10)', async () => {
    const { origin } = new URL(gatehouse.issuer);
    const metadata = await fetch(`${origin}/.well-known/oauth-protected-resource/id/admin/v1`);
    const { dpop_signing_alg_values_supported: algs } = (await metadata.json()) as Record<string, unknown>;
    assert.deepEqual(algs, ['ES256', 'Ed25519', 'EdDSA']);
  });
});

describe('the address that a proof for the admin API names', () => {
  const ISSUER = 'https://id.example.com';
  const ADMIN_URL = 'https://admin.example.com:8443';
  let gatehouse: Gatehouse;
  let key: ProofKey;
  let token = '';
  before(async () => {
    const environment = { ISSUER, GATEHOUSE_ADMIN_PORT: '3001', GATEHOUSE_ADMIN_URL: ADMIN_URL };
    gatehouse = await startGatehouse({ environment });
    const client = await registerClient(gatehouse, {
      token_endpoint_auth_method: 'client_secret_post',
      dpop_bound_access_tokens: true,
      resources: [{ resource: `${ISSUER}/admin/v1`, scopes: ['clients:read'] }],
    });
    key = await makeProofKey();
    const response = await fetch(`${gatehouse.url}/token`, {
      method: 'POST',
      headers: { DPoP: await prove(key, ['POST', `${ISSUER}/token`]) },
      body: new URLSearchParams({ grant_type: 'client_credentials', ...client }),
    });
    token = ((await response.json()) as { access_token: string }).access_token;
  });
  after(() => gatehouse.stop());

  for (const [base, status] of [
    [ISSUER, 200],
    [ADMIN_URL, 200],
    ['https://id.example.com:443', 200],
    ['https://ID.example.com', 200],
    ['http://id.example.com', 401],
    ['https://evil.example', 401],
  ] as const) {
    it(`may${status === 200 ? '' : ' not'} begin with ${base}, for any Host header (FIELD-E10)`, async () => {
      const DPoP = await prove(key, ['GET', `${base}/admin/v1/clients`], { claims: { ath: athOf(token) } });
      const headers = { authorization: `DPoP ${token}`, DPoP, 'x-forwarded-host': new URL(base).host };
      const answer = await fetch(`${gatehouse.adminUrl}/admin/v1/clients`, { headers });
      assert.equal(answer.status, status, await answer.text());
    });
  }
});

describe('an admin token that is bound to a certificate', () => {
  let scene: TlsScene;
  let mine: Certified;
  let client: RegisteredClient;
  before(async () => {
    scene = await startWithTls();
    mine = await certify({ subject: 'CN=admin' });
    client = await registerClient(scene.gatehouse, {
      token_endpoint_auth_method: 'client_secret_post',
      tls_client_certificate_bound_access_tokens: true,
      resources: [{ resource: scene.gatehouse.admin.resource, scopes: ['clients:read'] }],
    });
  });
  after(() => scene.gatehouse.stop());

  it('is taken with the certificate alone, as Bearer (FIELD-E10)', async () => {
    const { mtls, authority, gatehouse } = scene;
    const withMine = fetchWith(mine, authority);
    const body = new URLSearchParams({ grant_type: 'client_credentials', ...client });
    const response = await withMine(`${mtls}/token`, { method: 'POST', body });
    const { access_token } = (await response.json()) as { access_token: string };
    const path = `${mtls}/admin/v1/clients`;
    const authorization = `Bearer ${access_token}`;
    assert.equal((await withMine(path, { headers: { authorization } })).status, 200);
    const other = await certify({ subject: 'CN=admin' });
    for (const stranger of [fetchWith(other, authority), fetchWith(undefined, authority)]) {
      const answer = await stranger(path, { headers: { authorization } });
      assert.equal(answer.status, 401);
      assert.match(
        answer.headers.get('www-authenticate') ?? '',
        /Bearer realm="[^"]+", error="invalid_token", error_description="[^"]*certificate/,
      );
    }
    assert.equal((await fetch(`${gatehouse.url}/admin/v1/clients`, { headers: { authorization } })).status, 401);
    assert.equal((await withMine(path, { headers: { authorization: `DPoP ${access_token}` } })).status, 401);
  });

  it('is announced in the metadata of the admin API (FIELD-E10)', async () => {
    const metadata = await fetch(`${scene.gatehouse.issuer}/.well-known/oauth-protected-resource/admin/v1`);
    assert.equal(
      ((await metadata.json()) as Record<string, unknown>)['tls_client_certificate_bound_access_tokens'],
      true,
    );
  });
});
