import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import {
  createRemoteJWKSet,
  decodeProtectedHeader,
  jwtVerify,
  type JWK,
  type JWTVerifyResult,
  type JWTVerifyOptions,
} from 'jose';
import { Refused } from '../../src/base/refusal.ts';
import { jwksPathOf, RESPONSE_ALGS, SIGNING_ALGS, type SigningAlg } from '../../src/base/signing_algs.ts';
import { KeyRotation } from '../../src/keys/rotation.ts';
import { MasterKey } from '../../src/vault/master_key.ts';
import { Vault } from '../../src/vault/vault.ts';
import { Admin } from '../support/client/admin.ts';
import { redeem, REDIRECT_URI, requestCode } from '../support/client/code_flow.ts';
import { everythingStored } from '../support/node/stored_values.ts';
import { postForm, requestToken, startGatehouse, TEST_MASTER_KEY, type Gatehouse } from '../support/node/gatehouse.ts';
import { eventually, registerClient, type RegisteredClient } from '../support/node/operator.ts';
import { openTrail } from '../support/node/audit_trail.ts';

type Body = Readonly<Record<string, unknown>>;

const ON_DEMAND = SIGNING_ALGS.filter((alg) => alg !== 'ES256' && alg !== 'RS256');
const apiOf = (alg: string): string => `https://${alg.toLowerCase()}.example.com`;

describe('signing algorithms', () => {
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

  const discovery = async (): Promise<Body> =>
    (await (await fetch(`${gatehouse.url}/.well-known/openid-configuration`)).json()) as Body;
  const keySet = async (path: string, node: Gatehouse): Promise<JWK[]> =>
    ((await (await fetch(node.url + path)).json()) as { keys: JWK[] }).keys;
  const jwks = async (node = gatehouse): Promise<JWK[]> => [
    ...(await keySet('/jwks', node)),
    ...(await keySet('/jwks/ml-dsa', node)),
  ];
  const algsOf = (keys: readonly JWK[]): string[] => [...new Set(keys.map(({ alg }) => String(alg)))].toSorted();
  /** As an independent verifier does: with our JWKS alone. */
  const verify = (token: string, alg: SigningAlg, options: JWTVerifyOptions): Promise<JWTVerifyResult> =>
    jwtVerify(token, createRemoteJWKSet(new URL(gatehouse.issuer + jwksPathOf(alg))), {
      issuer: gatehouse.issuer,
      algorithms: [alg],
      ...options,
    });
  const addResource = (alg: string, identifier = apiOf(alg), by = admin) =>
    by.post('/resources', {
      identifier,
      scopes: [{ name: 'files:read', description: 'Read files' }],
      signing_alg: alg,
    });
  const userOf = async (alg: string): Promise<RegisteredClient> => {
    const resources = [{ resource: apiOf(alg), scopes: ['files:read'] }];
    return (await admin.post('/clients', { resources })).body;
  };
  const isActive = async (token: string, alg: string, node = gatehouse): Promise<boolean> => {
    const server = await registerClient(gatehouse, { resources: [], introspects: [apiOf(alg)] });
    const answer = await postForm(`${node.url}/introspect`, { token }, server);
    return ((await answer.json()) as { active: boolean }).active;
  };

  it('are two at first: the others have no keys until a client or a resource wants them, and discovery names none of them', async () => {
    assert.deepEqual(algsOf(await jwks()), ['ES256', 'RS256']);
    const metadata = await discovery();
    for (const use of ['id_token', 'userinfo', 'introspection', 'authorization'])
      assert.deepEqual(
        (metadata[`${use}_signing_alg_values_supported`] as string[]).toSorted(),
        ['ES256', 'RS256'],
        use,
      );
  });

  it('of which there are no keys can’t be had by a client that no admin brings: it can not make the key set grow', async () => {
    await assert.rejects(
      registerClient(gatehouse, { id_token_signed_response_alg: 'PS256' }),
      (error: unknown) =>
        error instanceof Refused &&
        error.refusal.reason === 'invalid' &&
        error.refusal.violations[0]?.path === '/id_token_signed_response_alg',
    );
    assert.deepEqual(algsOf(await jwks()), ['ES256', 'RS256']);
  });

  it('reach a node that does not know them yet: it tells the client to retry, and then has them', async () => {
    const environment = { GATEHOUSE_CHANGE_POLL_MILLISECONDS: '900' };
    const late = await startGatehouse({ beside: gatehouse, withoutNotify: true, environment });
    try {
      const resources = [{ resource: gatehouse.demo.resource, scopes: ['notes:read'] }];
      const { body } = await admin.post('/clients', { resources, introspection_signed_response_alg: 'Ed25519' });
      const statuses: number[] = [];
      await eventually(async () => {
        const answer = await postForm(`${late.url}/token`, { grant_type: 'client_credentials' }, body);
        await answer.body?.cancel();
        statuses.push(answer.status);
        return answer.status === 200;
      }, 5_000);
      // its news may have come between the two
      assert.deepEqual(
        statuses.filter((status) => status !== 200 && status !== 503),
        [],
      );
    } finally {
      await late.stop();
    }
  });

  it('get one pair of keys when two nodes are asked at the same moment', async () => {
    const other = new Admin(second, await gatehouse.adminToken());
    const answers = await Promise.all([
      addResource('PS256', 'https://one.example.com'),
      addResource('PS256', 'https://two.example.com', other),
    ]);
    assert.deepEqual(
      answers.map(({ status }) => status),
      [201, 201],
    );
    const keys = (await admin.get('/keys')).body.items.filter((key) => key['alg'] === 'PS256');
    assert.deepEqual(
      keys.map((key) => key['status']),
      ['current', 'next'],
    );
  });

  it('without a name that JOSE knows are refused, with a list of those there are', async () => {
    for (const alg of ['HS256', 'none', 'ML-DSA', 'es256', 'RS512', '']) {
      const { status, text } = await addResource(alg, 'https://wrong.example.com');
      assert.equal(status, 400, alg);
      assert.match(text, /must be one of ES256, RS256, PS256, Ed25519, EdDSA, ML-DSA-44, ML-DSA-65, ML-DSA-87/);
    }
  });

  for (const alg of SIGNING_ALGS) {
    describe(alg, () => {
      let client: RegisteredClient;

      it('signs the access tokens of a resource, from both nodes, as its JWKS says', async () => {
        const made = await addResource(alg);
        assert.equal(made.status, 201, made.text);
        assert.equal(made.body['signing_alg'], alg);
        client = await userOf(alg);
        const token = await requestToken(gatehouse.url, client);
        const { protectedHeader, payload } = await verify(token, alg, { typ: 'at+jwt', audience: apiOf(alg) });
        assert.equal(payload['scope'], 'files:read');
        const key = (await jwks()).find(({ kid }) => kid === protectedHeader.kid);
        assert.equal(key?.alg, alg);
        assert.equal(await isActive(token, alg), true);

        let fromSecond = '';
        await eventually(async () => {
          const answer = await postForm(`${second.url}/token`, { grant_type: 'client_credentials' }, client);
          const body = (await answer.json()) as { access_token?: string };
          fromSecond = body.access_token ?? '';
          return answer.status === 200;
        }, 3_000);
        await verify(fromSecond, alg, { typ: 'at+jwt', audience: apiOf(alg) });
        assert.equal(await isActive(token, alg, second), true);
      });

      if (RESPONSE_ALGS.includes(alg))
        it('signs ID tokens, userinfo, authorization responses and introspection for a client that wants it', async () => {
          const members = ['id_token', 'userinfo', 'introspection', 'authorization'] as const;
          const {
            body: application,
            text,
            status,
          } = await admin.post('/clients', {
            redirect_uris: [REDIRECT_URI],
            ...Object.fromEntries(members.map((use) => [`${use}_signed_response_alg`, alg])),
          });
          assert.equal(status, 201, text);
          const about = { audience: application.client_id };

          const answer = await redeem(gatehouse.url, application, await requestCode(gatehouse, application));
          const tokens = (await answer.json()) as Record<string, string>;
          const { payload } = await verify(tokens['id_token']!, alg, about);
          const userinfo = await fetch(`${gatehouse.url}/userinfo`, {
            headers: { authorization: `Bearer ${tokens['access_token']}` },
          });
          assert.match(userinfo.headers.get('content-type') ?? '', /^application\/jwt/);
          assert.equal((await verify(await userinfo.text(), alg, about)).payload.sub, payload.sub);

          const parameters = { response_mode: 'jwt' };
          const { callback } = await requestCode(gatehouse, application, { parameters });
          const response = await verify(callback.searchParams.get('response') ?? '', alg, about);
          assert.equal(typeof response.payload['code'], 'string');

          const accept = { accept: 'application/token-introspection+jwt' };
          const form = { token: tokens['access_token']! };
          const introspected = await postForm(`${gatehouse.url}/introspect`, form, application, accept);
          await verify(await introspected.text(), alg, { ...about, typ: 'token-introspection+jwt' });
        });

      it('rotates: the old key still verifies, and an emergency ends it', async () => {
        const first = await requestToken(gatehouse.url, client);
        const rotated = await admin.post('/keys/rotate', { alg, reason: 'A test' });
        assert.equal(rotated.status, 200, rotated.text);
        const then = await requestToken(gatehouse.url, client);
        assert.notEqual(decodeProtectedHeader(then).kid, decodeProtectedHeader(first).kid);
        for (const token of [first, then]) {
          await verify(token, alg, { audience: apiOf(alg) });
          assert.equal(await isActive(token, alg), true);
        }
        const emergency = await admin.post('/keys/rotate', { alg, reason: 'It leaked', emergency: true });
        assert.equal(emergency.status, 200);
        assert.equal(await isActive(then, alg), false);
        await eventually(async () => !(await isActive(then, alg, second)));
        await assert.rejects(verify(then, alg, { audience: apiOf(alg) }), { code: 'ERR_JWKS_NO_MATCHING_KEY' });
        await verify(await requestToken(gatehouse.url, client), alg, { audience: apiOf(alg) });
      });
    });
  }

  it('are on every list of discovery once there are keys for them, and their keys are in JWKS without private halves (DISC-01)', async () => {
    const keys = await jwks();
    assert.deepEqual(algsOf(keys), SIGNING_ALGS.toSorted());
    const shown = JSON.stringify(keys) + (await admin.get('/keys')).text;
    assert.doesNotMatch(shown, /"(d|p|q|dp|dq|qi|k|priv)"\s*:/);
    const metadata = await discovery();
    for (const use of ['id_token', 'userinfo', 'introspection', 'authorization'])
      assert.deepEqual(
        (metadata[`${use}_signing_alg_values_supported`] as string[]).toSorted(),
        RESPONSE_ALGS.toSorted(),
      );
    await eventually(async () => (await jwks(second)).length === keys.length);
  });

  it('leave no part of a private half in the database', async () => {
    const stored = await everythingStored(gatehouse.database);
    assert.ok(stored.some(({ text }) => text.includes('"alg":"ML-DSA-65"')));
    assert.deepEqual(
      stored.filter(({ text }) => /"priv"\s*:/.test(text)).map(({ where }) => where),
      [],
    );
  });

  it('say in the trail who had keys made, and for what', async () => {
    for (const alg of ON_DEMAND) {
      const rows = await gatehouse.database
        .selectFrom('audit_events')
        .select(['actor_id', 'details'])
        .where('event', '=', 'signing_key.created')
        .execute();
      const its = rows.filter(({ details }) => details['alg'] === alg);
      assert.equal(its.length, 2, alg);
      assert.equal(its[0]?.actor_id, gatehouse.admin.client_id);
    }
  });

  it('can be changed for a resource: the next token is signed with the new one, the last one still verifies', async () => {
    const path = `/resources/${encodeURIComponent(apiOf('ES256'))}`;
    const client = await userOf('ES256');
    const first = await requestToken(gatehouse.url, client);
    const change = await admin.patch(path, { signing_alg: 'Ed25519' });
    assert.equal(change.status, 200, change.text);
    const token = await requestToken(gatehouse.url, client);
    await verify(token, 'Ed25519', { audience: apiOf('ES256') });
    await verify(first, 'ES256', { audience: apiOf('ES256') });
  });

  it('that came on demand rotate on schedule like the others', async () => {
    const signing = async (): Promise<string[]> => {
      const { status, body, text } = await admin.get('/keys');
      assert.equal(status, 200, text);
      return body.items
        .filter((key) => key['status'] === 'current')
        .map((key) => `${String(key['alg'])} ${String(key['kid'])}`)
        .toSorted();
    };
    const old = await signing();
    assert.deepEqual(
      old.map((key) => key.split(' ')[0]),
      SIGNING_ALGS.toSorted(),
    );
    await (await schedule(gatehouse)).runSchedule(new Date(Date.now() + 31 * 86_400_000));
    // the token so far was signed with a key that the schedule has just removed
    admin = await Admin.of(gatehouse);
    const fresh = await signing();
    assert.equal(fresh.length, old.length);
    assert.deepEqual(
      fresh.filter((key) => old.includes(key)),
      [],
    );
  });
});

async function schedule({ database }: Gatehouse): Promise<KeyRotation> {
  return new KeyRotation({
    database,
    vault: new Vault(database, [new MasterKey(Buffer.from(TEST_MASTER_KEY, 'base64'))]),
    trail: await openTrail(database),
    jwksMaxAgeSeconds: 300,
    rotationDays: 30,
    rsaBits: 2_048,
  });
}
