import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { createRemoteJWKSet, decodeJwt, jwtVerify, type JWK } from 'jose';
import * as oauth from 'oauth4webapi';
import { UnusedKeys } from '../../src/keys/unused_keys.ts';
import { recordChange } from '../../src/invalidation/log.ts';
import { Admin } from '../support/client/admin.ts';
import { redeem, REDIRECT_URI, registerApplication, requestCode, signIn } from '../support/client/code_flow.ts';
import { makePolicy, makeToken, register } from '../support/client/registration.ts';
import { openTrail } from '../support/node/audit_trail.ts';
import { requestToken, startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { change, eventually, registerClient, type RegisteredClient } from '../support/node/operator.ts';

const HOUR_SECONDS = 3_600;
const MEMBERS = ['id_token', 'userinfo', 'introspection', 'authorization'].map((use) => `${use}_signed_response_alg`);

describe('the two key sets', () => {
  let gatehouse: Gatehouse;
  let second: Gatehouse;
  let admin: Admin;
  before(async () => {
    gatehouse = await startGatehouse();
    second = await startGatehouse({ beside: gatehouse });
    admin = await Admin.of(gatehouse);
  });
  after(async () => {
    await second.stop();
    await gatehouse.stop();
  });

  const keysAt = async (path: string, node = gatehouse): Promise<readonly JWK[]> =>
    ((await (await fetch(node.url + path)).json()) as { keys: JWK[] }).keys;
  const typesAt = async (path: string, node = gatehouse): Promise<string[]> =>
    [...new Set((await keysAt(path, node)).map(({ kty = '' }) => kty))].toSorted();
  const algsAt = async (path: string, node = gatehouse): Promise<string[]> =>
    [...new Set((await keysAt(path, node)).map(({ alg = '' }) => alg))].toSorted();
  const addResource = (alg: string, name: string, by = admin) =>
    by.post('/resources', {
      identifier: `https://${name}.example.com`,
      scopes: [{ name: 'files:read', description: 'Read files' }],
      signing_alg: alg,
    });
  const clientOf = async (name: string): Promise<RegisteredClient> =>
    (await admin.post('/clients', { resources: [{ resource: `https://${name}.example.com`, scopes: ['files:read'] }] }))
      .body;
  const removeResource = async (name: string): Promise<void> => {
    const { status } = await admin.send(
      'DELETE',
      `/resources/${encodeURIComponent(`https://${name}.example.com`)}`,
      undefined,
    );
    assert.equal(status, 204);
  };
  const deleteClient = (client: RegisteredClient) => admin.send('DELETE', `/clients/${client.client_id}`, undefined);
  const unusedKeys = async (): Promise<UnusedKeys> =>
    new UnusedKeys({
      database: gatehouse.database,
      trail: await openTrail(gatehouse.database),
      jwksMaxAgeSeconds: 300,
    });
  const inSeconds = (seconds: number): Date => new Date(Date.now() + seconds * 1_000);

  it('keep keys that many verifiers do not know out of the JWKS of discovery, so that logins go on with jose and oauth4webapi (FIELD-C4)', async () => {
    assert.equal((await addResource('ML-DSA-65', 'quantum')).status, 201);
    assert.deepEqual(await typesAt('/jwks'), ['EC', 'RSA']);
    assert.deepEqual(await typesAt('/jwks/ml-dsa'), ['AKP']);
    await eventually(async () => (await typesAt('/jwks/ml-dsa', second)).length === 1);
    assert.deepEqual(await typesAt('/jwks', second), ['EC', 'RSA']);

    const application = await registerApplication(gatehouse);
    const { tokens } = await signIn(gatehouse, application);
    const issuer = new URL(gatehouse.issuer);
    const options = { [oauth.allowInsecureRequests]: true };
    const server = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, options));
    assert.equal(server.jwks_uri, `${gatehouse.issuer}/jwks`);
    const response = Response.json({ ...tokens, token_type: 'bearer' });
    const answer = await oauth.processAuthorizationCodeResponse(
      server,
      { client_id: application.client_id },
      response,
      { expectedNonce: String(decodeJwt(tokens.id_token!)['nonce']) },
    );
    await oauth.validateApplicationLevelSignature(server, response, options);
    assert.ok(oauth.getValidatedIdTokenClaims(answer));
    await jwtVerify(tokens.id_token!, createRemoteJWKSet(new URL(server.jwks_uri)), { issuer: gatehouse.issuer });
  });

  it('let an API with ML-DSA verify its tokens with the set that the admin API names, with jose and oauth4webapi (FIELD-C4)', async () => {
    const { body: resource } = await admin.get(`/resources/${encodeURIComponent('https://quantum.example.com')}`);
    assert.equal(resource['issuer_jwks_uri'], `${gatehouse.issuer}/jwks/ml-dsa`);
    const listed = (await admin.get('/resources?limit=100')).body.items;
    const ordinary = listed.find((one) => one['identifier'] === gatehouse.demo.resource);
    assert.equal(ordinary?.['issuer_jwks_uri'], `${gatehouse.issuer}/jwks`);

    const token = await requestToken(gatehouse.url, await clientOf('quantum'));
    const jwksUri = resource['issuer_jwks_uri'];
    const audience = 'https://quantum.example.com';
    const { issuer } = gatehouse;
    await jwtVerify(token, createRemoteJWKSet(new URL(jwksUri)), { issuer, audience, typ: 'at+jwt' });
    await assert.rejects(jwtVerify(token, createRemoteJWKSet(new URL(`${issuer}/jwks`)), { issuer }), {
      code: 'ERR_JWKS_NO_MATCHING_KEY',
    });
    const request = new Request(audience, { headers: { authorization: `Bearer ${token}` } });
    const claims = await oauth.validateJwtAccessToken({ issuer, jwks_uri: jwksUri }, request, audience, {
      [oauth.allowInsecureRequests]: true,
      signingAlgorithms: ['ML-DSA-65'],
    });
    assert.equal(claims.scope, 'files:read');
  });

  it('are cacheable and readable for pages of any origin, and each answers OPTIONS and HEAD (FIELD-C4)', async () => {
    for (const path of ['/jwks', '/jwks/ml-dsa']) {
      const answer = await fetch(gatehouse.url + path, { headers: { origin: 'https://any.example' } });
      const etag = answer.headers.get('etag')!;
      assert.match(answer.headers.get('content-type')!, /^application\/jwk-set\+json/);
      assert.equal(answer.headers.get('cache-control'), 'public, max-age=300');
      assert.equal(answer.headers.get('access-control-allow-origin'), '*');
      assert.doesNotMatch(await answer.text(), /"(d|p|q|dp|dq|qi|k|priv)":/);
      assert.equal(
        (await fetch(gatehouse.url + path, { headers: { 'if-none-match': etag, 'cache-control': 'max-age=0' } }))
          .status,
        304,
      );
      assert.equal((await fetch(gatehouse.url + path, { method: 'HEAD' })).headers.get('etag'), etag);
      const preflight = { origin: 'https://any.example', 'access-control-request-method': 'GET' };
      const options = await fetch(gatehouse.url + path, { method: 'OPTIONS', headers: preflight });
      assert.deepEqual([options.status, options.headers.get('access-control-allow-methods')], [204, 'GET']);
      const other = await fetch(gatehouse.url + path, { method: 'POST' });
      assert.deepEqual([other.status, other.headers.get('allow')], [405, 'GET, OPTIONS']);
    }
  });

  it('have no ML-DSA key for a client: to register one that wants it, or to change one to it, is refused (FIELD-C4)', async () => {
    const application = { redirect_uris: [REDIRECT_URI] };
    const { body: client } = await admin.post('/clients', application);
    await makePolicy(gatehouse, { name: 'quantum' });
    const { initial_access_token } = await makeToken(gatehouse, 'quantum', { uses: 10 });
    for (const member of MEMBERS) {
      const wanted = { [member]: 'ML-DSA-65' };
      for (const answer of [
        await admin.post('/clients', { ...application, ...wanted }),
        await admin.patch(`/clients/${client.client_id}`, wanted),
      ]) {
        assert.equal(answer.status, 400, answer.text);
        const [error] = answer.body.errors;
        assert.equal(error?.pointer, `/${member}`);
        assert.equal(error.detail, 'must be one of ES256, RS256, PS256, Ed25519, EdDSA');
      }
      const { status, body } = await register(gatehouse, wanted, initial_access_token);
      assert.deepEqual([status, body.error], [400, 'invalid_client_metadata']);
      assert.match(body.error_description ?? '', new RegExp(`^${member} must be one of ES256`));
    }
    const metadata = await (await fetch(`${gatehouse.url}/.well-known/openid-configuration`)).text();
    assert.doesNotMatch(metadata, /ML-DSA/);
  });

  it('serve a client that an earlier release let use ML-DSA: it keeps working, with a warning, and may only leave it (FIELD-C4)', async () => {
    const client = await registerApplication(gatehouse);
    await change(gatehouse, async ({ tx, now }) => {
      const { metadata } = await tx
        .selectFrom('clients')
        .select('metadata')
        .where('client_id', '=', client.client_id)
        .executeTakeFirstOrThrow();
      const older = { ...metadata, ...Object.fromEntries(MEMBERS.map((member) => [member, 'ML-DSA-65'])) };
      await tx
        .updateTable('clients')
        .set({ metadata: JSON.stringify(older) })
        .where('client_id', '=', client.client_id)
        .execute();
      await recordChange(tx, { topic: 'client', key: client.client_id }, now);
    });
    const path = `/clients/${client.client_id}`;
    await eventually(async () => {
      const answer = await redeem(gatehouse.url, client, await requestCode(gatehouse, client));
      const { id_token = '', access_token } = (await answer.json()) as Record<string, string>;
      const keys = createRemoteJWKSet(new URL(`${gatehouse.issuer}/jwks/ml-dsa`));
      const verified = await jwtVerify(id_token, keys, { audience: client.client_id }).catch(() => undefined);
      if (!verified) return false;
      const userinfo = await fetch(`${gatehouse.url}/userinfo`, {
        headers: { authorization: `Bearer ${access_token}` },
      });
      assert.equal((await jwtVerify(await userinfo.text(), keys)).payload.sub, verified.payload.sub);
      return true;
    });
    const { callback } = await requestCode(gatehouse, client, { parameters: { response_mode: 'jwt' } });
    const response = callback.searchParams.get('response') ?? '';
    await jwtVerify(response, createRemoteJWKSet(new URL(`${gatehouse.issuer}/jwks/ml-dsa`)));

    const warnings = (await admin.get(path)).body['warnings'] as string[];
    assert.equal(warnings.length, MEMBERS.length);
    assert.match(warnings[0] ?? '', /^id_token_signed_response_alg is ML-DSA-65, .*\/jwks\/ml-dsa.* Choose ES256,/);
    const renamed = await admin.patch(path, { client_name: 'Older application' });
    assert.equal(renamed.status, 200, renamed.text);
    assert.equal((await admin.patch(path, { id_token_signed_response_alg: 'ML-DSA-44' })).status, 400);
    const left = await admin.patch(path, Object.fromEntries(MEMBERS.map((member) => [member, null])));
    assert.deepEqual([left.status, left.body['warnings']], [200, []]);
    assert.equal((await admin.patch(path, { id_token_signed_response_alg: 'ML-DSA-65' })).status, 400);
  });

  it('lose the keys of an algorithm once its last user is gone and the last token has expired, on every node (FIELD-C4)', async () => {
    assert.equal((await addResource('ML-DSA-44', 'leaving')).status, 201);
    assert.equal((await addResource('PS256', 'leaving-too')).status, 201);
    const client = await clientOf('leaving');
    const token = await requestToken(gatehouse.url, client);
    const keys = await unusedKeys();
    const has = async (node: Gatehouse): Promise<boolean[]> => [
      (await algsAt('/jwks/ml-dsa', node)).includes('ML-DSA-44'),
      (await algsAt('/jwks', node)).includes('PS256'),
    ];
    await eventually(async () => (await has(second)).every(Boolean));
    await keys.remove(inSeconds(30 * HOUR_SECONDS));
    await keys.remove(inSeconds(60 * HOUR_SECONDS));
    assert.deepEqual(await has(gatehouse), [true, true], 'keys in use stay');

    await deleteClient(client);
    for (const name of ['leaving', 'leaving-too']) await removeResource(name);
    await keys.remove(new Date());
    await keys.remove(inSeconds(24 * HOUR_SECONDS));
    assert.deepEqual(await has(gatehouse), [true, true], 'a token may still be alive, and a copy of the set');
    await jwtVerify(token, createRemoteJWKSet(new URL(`${gatehouse.issuer}/jwks/ml-dsa`)));
    await keys.remove(inSeconds(24 * HOUR_SECONDS + 301));
    for (const node of [gatehouse, second])
      await eventually(async () => JSON.stringify(await has(node)) === '[false,false]', 3_000);
    assert.ok((await algsAt('/jwks/ml-dsa')).includes('ML-DSA-65'), 'keys of another algorithm stay');
    assert.deepEqual(await algsAt('/jwks'), ['ES256', 'RS256']);
    const removed = await gatehouse.database
      .selectFrom('audit_events')
      .select('details')
      .where('event', '=', 'signing_key.removed')
      .execute();
    assert.equal(removed.filter(({ details }) => details['alg'] === 'ML-DSA-44').length, 2);

    // a later user gets keys of its own
    assert.equal((await addResource('ML-DSA-44', 'back')).status, 201);
    await requestToken(gatehouse.url, await clientOf('back'));
  });

  it('keep the keys of an algorithm that is used again, and those that a client alone uses (FIELD-C4)', async () => {
    const keys = await unusedKeys();
    assert.equal((await addResource('Ed25519', 'again')).status, 201);
    await removeResource('again');
    await keys.remove(new Date());
    assert.equal((await addResource('Ed25519', 'again')).status, 201);
    await keys.remove(inSeconds(50 * HOUR_SECONDS));
    assert.ok((await algsAt('/jwks')).includes('Ed25519'));

    const client = await registerClient(gatehouse, { introspection_signed_response_alg: 'Ed25519' });
    await removeResource('again');
    for (const hours of [0, 30, 60]) await keys.remove(inSeconds(hours * HOUR_SECONDS));
    await (await unusedKeys()).remove(inSeconds(90 * HOUR_SECONDS));
    assert.ok((await algsAt('/jwks')).includes('Ed25519'));
    await deleteClient(client);
    for (const hours of [0, 25]) await keys.remove(inSeconds(hours * HOUR_SECONDS));
    await eventually(async () => !(await algsAt('/jwks')).includes('Ed25519'), 3_000);
  });

  it('never lose the keys of a resource that is registered at the moment when they are removed (FIELD-C4)', async () => {
    const other = new Admin(second, await gatehouse.adminToken());
    for (let round = 0; round < 6; round++) {
      assert.equal((await addResource('EdDSA', `old-${round}`)).status, 201);
      await removeResource(`old-${round}`);
      const keys = await unusedKeys();
      await keys.remove(new Date());
      const [made] = await Promise.all([
        addResource('EdDSA', `new-${round}`, round % 2 === 0 ? other : admin),
        keys.remove(inSeconds(25 * HOUR_SECONDS)),
        (await unusedKeys()).remove(inSeconds(25 * HOUR_SECONDS)),
      ]);
      const { status } = made.status === 409 ? await addResource('EdDSA', `new-${round}`) : made;
      assert.equal(status, 201);
      const rows = await gatehouse.database
        .selectFrom('signing_keys')
        .select('status')
        .where('alg', '=', 'EdDSA')
        .execute();
      assert.deepEqual(rows.map((row) => row.status).toSorted(), ['current', 'next']);
      await removeResource(`new-${round}`);
    }
  });
});
