import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { exportJWK, generateKeyPair, type CryptoKey } from 'jose';
import * as openid from 'openid-client';
import { RESPONSE_MODES } from '../../src/base/response_modes.ts';
import { Admin } from '../support/client/admin.ts';
import { authorizationRequest, send } from '../support/client/authorization_request.ts';
import { certify, fetchWith } from '../support/network/certificates.ts';
import {
  basic,
  configure,
  REDIRECT_URI,
  registerApplication,
  registerPublicApplication,
  signIn,
} from '../support/client/code_flow.ts';
import { athOf, makeProofKey, prove } from '../support/client/dpop.ts';
import { postForm, startGatehouse, TEST_MASTER_KEY, type Gatehouse } from '../support/node/gatehouse.ts';
import { registerClient, type RegisteredClient } from '../support/node/operator.ts';
import { Person } from '../support/person/person.ts';
import { CLI, NODE, Processes } from '../support/node/process.ts';
import { makePolicy, register } from '../support/client/registration.ts';
import { startWithTls } from '../support/network/tls_listener.ts';

type Json = Readonly<Record<string, unknown>>;

const discovery = async ({ url }: Gatehouse): Promise<Json> =>
  (await (await fetch(`${url}/.well-known/openid-configuration`)).json()) as Json;
const fastAnswers = async ({ managementUrl }: Gatehouse): Promise<number> => {
  const metrics = await (await fetch(`${managementUrl}/metrics`)).text();
  return Number(/^gatehouse_lean_answers_total (\d+)/m.exec(metrics)?.[1]);
};
const tokenFor = async (
  node: Gatehouse,
  client: RegisteredClient,
  form: Readonly<Record<string, string>>,
  dpop?: string,
) => {
  const response = await postForm(`${node.url}/token`, form, client, dpop === undefined ? {} : { DPoP: dpop });
  return { status: response.status, body: (await response.json()) as Json };
};
const MACHINE = { grant_type: 'client_credentials' };

describe('a server that demands pushed requests', () => {
  let gatehouse: Gatehouse;
  let client: RegisteredClient;
  before(async () => {
    gatehouse = await startGatehouse({ environment: { GATEHOUSE_REQUIRE_PUSHED_REQUESTS: 'true' } });
    client = await registerApplication(gatehouse);
  });
  after(() => gatehouse.stop());

  it('refuses all others, also of clients that never promised any (FIELD-V10)', async () => {
    assert.equal((await discovery(gatehouse))['require_pushed_authorization_requests'], true);
    for (const who of [client, await registerPublicApplication(gatehouse)]) {
      const location = (await send(gatehouse, authorizationRequest(who))).headers.get('location') ?? '';
      const { origin, searchParams } = new URL(location);
      assert.equal(origin, new URL(REDIRECT_URI).origin);
      assert.equal(searchParams.get('error'), 'invalid_request');
      assert.match(searchParams.get('error_description') ?? '', /Pushed Authorization Request must be used/);
    }
  });

  it('takes those that openid-client pushes (FIELD-V10)', async () => {
    const config = await configure(gatehouse, client);
    const verifier = openid.randomPKCECodeVerifier();
    const url = await openid.buildAuthorizationUrlWithPAR(config, {
      redirect_uri: REDIRECT_URI,
      scope: 'openid',
      code_challenge: await openid.calculatePKCECodeChallenge(verifier),
      code_challenge_method: 'S256',
    });
    const callback = await new Person(gatehouse).authorize(url);
    const tokens = await openid.authorizationCodeGrant(config, callback, { pkceCodeVerifier: verifier });
    assert.equal(typeof tokens.claims()?.sub, 'string');
  });
});

describe('a server that demands sender-constrained tokens', () => {
  let older: Gatehouse;
  let gatehouse: Gatehouse;
  let client: RegisteredClient;
  before(async () => {
    older = await startGatehouse();
    const environment = { GATEHOUSE_REQUIRE_SENDER_CONSTRAINED_TOKENS: 'true' };
    gatehouse = await startGatehouse({ beside: older, environment });
    client = await registerApplication(older, {
      grant_types: ['authorization_code', 'refresh_token', 'client_credentials'],
    });
  });
  after(async () => {
    await gatehouse.stop();
    await older.stop();
  });

  it('gives none without a proof, to no client and on the fast path neither (FIELD-V10)', async () => {
    const { tokens } = await signIn(older, client, {
      scope: 'openid offline_access notes:read',
      parameters: { prompt: 'consent' },
    });
    const key = await makeProofKey();
    const earlier = await fastAnswers(gatehouse);
    for (const form of [MACHINE, { grant_type: 'refresh_token', refresh_token: tokens.refresh_token! }]) {
      const refused = await tokenFor(gatehouse, client, form);
      assert.deepEqual(
        [refused.status, refused.body['error']],
        [400, 'invalid_dpop_proof'],
        JSON.stringify(refused.body),
      );
      assert.equal(refused.body['error_description'], 'a DPoP proof is required');
      const proof = await prove(key, ['POST', `${gatehouse.issuer}/token`]);
      const given = await tokenFor(gatehouse, client, form, proof);
      assert.equal(given.body['token_type'], 'DPoP', JSON.stringify(given.body));
    }
    assert.equal(await fastAnswers(gatehouse), earlier);
    assert.equal((await tokenFor(older, client, MACHINE)).body['token_type'], 'Bearer', 'where it is not demanded');
  });

  it('lets the first admin in with a proof, and says so in its metadata (FIELD-V10)', async () => {
    const key = await makeProofKey();
    const proof = await prove(key, ['POST', `${gatehouse.issuer}/token`]);
    const { body } = await tokenFor(gatehouse, gatehouse.admin, { ...MACHINE, scope: 'clients:read' }, proof);
    const token = String(body['access_token']);
    const DPoP = await prove(key, ['GET', `${gatehouse.issuer}/admin/v1/clients`], { claims: { ath: athOf(token) } });
    const answer = await fetch(`${gatehouse.url}/admin/v1/clients`, {
      headers: { authorization: `DPoP ${token}`, DPoP },
    });
    assert.equal(answer.status, 200, await answer.text());
    const metadata = await fetch(`${gatehouse.url}/.well-known/oauth-protected-resource/admin/v1`);
    assert.equal(((await metadata.json()) as Json)['dpop_bound_access_tokens_required'], true);
  });

  it('takes a certificate for it where a client binds its tokens to one (FIELD-V10)', async () => {
    const scene = await startWithTls({ GATEHOUSE_REQUIRE_SENDER_CONSTRAINED_TOKENS: 'true' });
    try {
      const bound = await registerClient(scene.gatehouse, { tls_client_certificate_bound_access_tokens: true });
      const ask = fetchWith(await certify({ subject: 'CN=bound' }), scene.authority);
      const headers = { authorization: basic(bound.client_id, bound.client_secret) };
      const answer = await ask(`${scene.mtls}/token`, { method: 'POST', headers, body: new URLSearchParams(MACHINE) });
      assert.equal(answer.status, 200, await answer.text());
    } finally {
      await scene.gatehouse.stop();
    }
  });
});

describe('a server that demands strong client authentication', () => {
  const processes = new Processes();
  let folder = '';
  let older: Gatehouse;
  let gatehouse: Gatehouse;
  let secretive: RegisteredClient;
  let keyed: RegisteredClient;
  let key: CryptoKey;
  let publicJwk: object;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'gatehouse-demands-'));
    older = await startGatehouse();
    await makePolicy(older, { name: 'open', open_registration: true });
    const environment = { GATEHOUSE_REQUIRE_STRONG_CLIENT_AUTHENTICATION: 'true' };
    gatehouse = await startGatehouse({ beside: older, environment });
    const keys = await generateKeyPair('ES256', { extractable: true });
    key = keys.privateKey;
    publicJwk = { ...(await exportJWK(keys.publicKey)), alg: 'ES256', kid: randomBytes(6).toString('hex') };
    secretive = await registerClient(older);
    keyed = await registerClient(older, { token_endpoint_auth_method: 'private_key_jwt', jwks: { keys: [publicJwk] } });
  });
  after(async () => {
    await processes.end();
    await rm(folder, { recursive: true, force: true });
    await gatehouse.stop();
    await older.stop();
  });

  it('serves no client with a secret and no public one, on the fast path neither (FIELD-V10)', async () => {
    const earlier = await fastAnswers(gatehouse);
    const { status, body } = await tokenFor(gatehouse, secretive, MACHINE);
    assert.ok(status === 400 || status === 401);
    assert.equal(body['error'], 'invalid_client');
    assert.match(String(body['error_description']), /token_endpoint_auth_method must be one of private_key_jwt, /);
    assert.equal(await fastAnswers(gatehouse), earlier);
    const spa = await registerPublicApplication(older);
    const page = await fetch(`${gatehouse.url}/authorize?${authorizationRequest(spa)}`, { redirect: 'manual' });
    assert.equal(page.status, 400);
    assert.match(await page.text(), /token_endpoint_auth_method must be one of private_key_jwt, /);
    const introspected = await postForm(`${gatehouse.url}/introspect`, { token: 'a.b.c' }, secretive);
    assert.ok(introspected.status >= 400);
  });

  it('serves those that sign, and says which methods there are (FIELD-V10)', async () => {
    const options = { execute: [openid.allowInsecureRequests] };
    const proof = openid.PrivateKeyJwt(key);
    const config = await openid.discovery(new URL(gatehouse.issuer), keyed.client_id, undefined, proof, options);
    assert.ok((await openid.clientCredentialsGrant(config)).access_token);
    assert.deepEqual((await discovery(gatehouse))['token_endpoint_auth_methods_supported'], ['private_key_jwt']);
  });

  it('registers no other clients, by an admin or by themselves (FIELD-V10)', async () => {
    const admin = new Admin(gatehouse, await older.adminToken());
    const refused = await admin.post('/clients', { client_name: 'With a secret' });
    assert.equal(refused.status, 400, refused.text);
    assert.equal(refused.body.errors[0]?.pointer, '/token_endpoint_auth_method');
    const own = { token_endpoint_auth_method: 'private_key_jwt', jwks: { keys: [publicJwk] } };
    assert.equal((await admin.post('/clients', own)).status, 201);
    const patch = { token_endpoint_auth_method: 'client_secret_post', jwks: null };
    assert.equal((await admin.patch(`/clients/${keyed.client_id}`, patch)).status, 400);
    assert.equal((await admin.patch(`/clients/${secretive.client_id}`, { client_name: 'Renamed' })).status, 200);
    const itself = await register(gatehouse);
    assert.deepEqual([itself.status, itself.body.error], [400, 'invalid_client_metadata']);
    assert.match(itself.body.error_description ?? '', /token_endpoint_auth_method must be one of private_key_jwt/);
  });

  it('says at its start how many clients it turns away, and what to do (FIELD-V10)', () => {
    const said = gatehouse.log
      .map((line) => JSON.parse(line) as Json)
      .find(({ msg }) => msg === 'clients.refused_by_setting');
    assert.ok(Number(said?.['clients']) >= 2);
    assert.match(String(said?.['advice']), /create-admin --jwks/);
  });

  it('gets its first admin from the command line, with a key (FIELD-V10)', async () => {
    const environment = {
      NODE_ENV: 'test',
      ISSUER: gatehouse.issuer,
      DATABASE_URL: gatehouse.databaseUrl,
      GATEHOUSE_MASTER_KEY: TEST_MASTER_KEY,
      GATEHOUSE_DATA_DIR: folder,
      GATEHOUSE_REQUIRE_STRONG_CLIENT_AUTHENTICATION: 'true',
    };
    const file = join(folder, 'keys.json');
    await writeFile(file, JSON.stringify({ keys: [publicJwk] }));
    const without = await processes.run([NODE, CLI, 'create-admin'], environment);
    assert.equal(without.code, 1);
    assert.match(without.stderr, /GATEHOUSE_REQUIRE_STRONG_CLIENT_AUTHENTICATION is set.*pass --jwks <file>/);
    const made = await processes.run([NODE, CLI, 'create-admin', '--jwks', file], environment);
    assert.equal(made.code, 0, made.stderr);
    const { client_id, client_secret } = JSON.parse(made.stdout) as Json;
    assert.equal(client_secret, undefined);
    const options = { execute: [openid.allowInsecureRequests] };
    const proof = openid.PrivateKeyJwt(key);
    const config = await openid.discovery(new URL(gatehouse.issuer), String(client_id), undefined, proof, options);
    const { access_token } = await openid.clientCredentialsGrant(config);
    assert.equal((await new Admin(gatehouse, access_token).get('/clients')).status, 200);
  });
});

describe('the response modes', () => {
  let gatehouse: Gatehouse;
  let narrow: Gatehouse;
  before(async () => {
    gatehouse = await startGatehouse();
    narrow = await startGatehouse({ beside: gatehouse, environment: { GATEHOUSE_RESPONSE_MODES: 'query,query.jwt' } });
  });
  after(async () => {
    await narrow.stop();
    await gatehouse.stop();
  });

  const ask = (node: Gatehouse, client: RegisteredClient, response_mode: string | undefined) =>
    fetch(`${node.url}/authorize?${authorizationRequest(client, { response_mode, state: 's' })}`, {
      redirect: 'manual',
    });
  const reachesLogin = async (node: Gatehouse, client: RegisteredClient, mode: string | undefined): Promise<void> => {
    const answer = await ask(node, client, mode);
    assert.match(answer.headers.get('location') ?? '', /\/interaction\//, `${mode}: ${await answer.text()}`);
  };

  it('of a client are those that it was registered with (FIELD-V10)', async () => {
    const posting = await registerApplication(gatehouse, { response_modes: ['form_post', 'jwt'] });
    for (const mode of ['form_post', 'jwt', 'query.jwt']) await reachesLogin(gatehouse, posting, mode);
    for (const mode of ['query', 'fragment', 'form_post.jwt', undefined]) {
      const answer = await ask(gatehouse, posting, mode);
      const page = await answer.text();
      assert.equal(answer.headers.get('location'), null, 'the refusal comes in an allowed mode');
      assert.match(page, /name="error" value="invalid_request"/, mode);
      assert.match(page, /response_mode is not allowed/);
    }
    const any = await registerApplication(gatehouse);
    for (const mode of [undefined, ...RESPONSE_MODES]) await reachesLogin(gatehouse, any, mode);
  });

  it('of a server are those of its setting, also for clients that were registered before (FIELD-V10)', async () => {
    assert.deepEqual((await discovery(narrow))['response_modes_supported'], ['query', 'query.jwt']);
    const any = await registerApplication(gatehouse);
    for (const mode of [undefined, 'query', 'query.jwt', 'jwt']) await reachesLogin(narrow, any, mode);
    for (const mode of ['fragment', 'form_post', 'form_post.jwt']) {
      const location = (await ask(narrow, any, mode)).headers.get('location') ?? '';
      assert.equal(new URL(location).searchParams.get('error'), 'invalid_request', mode);
    }
    const posting = await registerApplication(gatehouse, { response_modes: ['form_post'] });
    const refused = await ask(narrow, posting, 'form_post');
    assert.equal(refused.status, 400);
    assert.match(await refused.text(), /response_modes must contain one that this server supports: query, query.jwt/);
  });

  it('can’t be registered empty, twice, unknown, or by a client that gets no responses (FIELD-V10)', async () => {
    const admin = await Admin.of(gatehouse);
    const code = { grant_types: ['authorization_code'], redirect_uris: [REDIRECT_URI] };
    for (const given of [
      { ...code, response_modes: [] },
      { ...code, response_modes: ['query', 'query'] },
      { ...code, response_modes: ['web_message'] },
      { response_modes: ['query'] },
    ]) {
      const { status, text } = await admin.post('/clients', given);
      assert.equal(status, 400, text);
    }
    const { body } = await admin.post('/clients', { ...code, response_modes: ['form_post.jwt'] });
    assert.deepEqual(body['response_modes'], ['form_post.jwt']);
    const alone = new Admin(narrow, await gatehouse.adminToken());
    assert.equal((await alone.post('/clients', { ...code, response_modes: ['form_post'] })).status, 400);
  });
});
