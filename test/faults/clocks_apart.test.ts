import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { createRemoteJWKSet, decodeJwt, exportJWK, generateKeyPair, jwtVerify, SignJWT, type JWTPayload } from 'jose';
import { sql } from 'kysely';
import { removeExpiredRows } from '../../src/maintenance/expired_rows.ts';
import { basic, redeem, registerApplication, requestCode, signIn } from '../support/client/code_flow.ts';
import { postForm, requestToken, TEST_MASTER_KEY, type Gatehouse } from '../support/node/gatehouse.ts';
import { eventually, registerClient, type RegisteredClient } from '../support/node/operator.ts';
import { startPair, type Pair } from '../support/node/pair.ts';
import { freeAddresses, MAIN, NODE, Processes } from '../support/node/process.ts';

const SHIFTED = { NODE_OPTIONS: `--import=${join(import.meta.dirname, '../support/node/shifted_clock.ts')}` };
/** What docs/operating.md allows, less a moment for the way to the database. */
const TOLERATED_SECONDS = 9;
const MINUTES = 300;

const shiftedBy = (seconds: number) => ({ ...SHIFTED, TEST_CLOCK_SHIFT_SECONDS: String(seconds) });

describe('two nodes, one as far ahead of the database and one as far behind it as is tolerated', () => {
  let pair: Pair;
  let application: RegisteredClient;
  before(async () => {
    pair = await startPair({ GATEHOUSE_REFRESH_GRACE_SECONDS: '0' }, [
      shiftedBy(TOLERATED_SECONDS),
      shiftedBy(-TOLERATED_SECONDS),
    ]);
    application = await registerApplication(pair.a, {
      grant_types: ['authorization_code', 'refresh_token', 'client_credentials'],
    });
  });
  after(() => pair.stop());

  const bothWays = (): (readonly [Gatehouse, Gatehouse])[] => [
    [pair.a, pair.b],
    [pair.b, pair.a],
  ];
  const isActive = async ({ url, demo }: Gatehouse, token: string): Promise<boolean> => {
    const answer = await postForm(`${url}/introspect`, { token }, demo);
    return ((await answer.json()) as { active: boolean }).active;
  };
  const refresh = (node: Gatehouse, refresh_token: string): Promise<Response> =>
    postForm(`${node.url}/token`, { grant_type: 'refresh_token', refresh_token }, application);

  it('take each other’s access tokens, and so does an API with a clock between them', async () => {
    const jwks = createRemoteJWKSet(new URL(`${pair.a.url}/jwks`));
    for (const [one, other] of bothWays()) {
      const token = await requestToken(one.url, application, 'notes:read');
      assert.equal(await isActive(other, token), true);
      const options = { issuer: pair.a.issuer, audience: pair.a.demo.resource, clockTolerance: 2 * TOLERATED_SECONDS };
      const { payload } = await jwtVerify(token, jwks, { ...options, maxTokenAge: 3_600 });
      assert.ok(Math.abs(payload.iat! - Date.now() / 1_000) < TOLERATED_SECONDS + 5);
    }
  });

  it('redeem each other’s codes once, and renew and end each other’s refresh tokens', async () => {
    for (const [one, other] of bothWays()) {
      const callback = await requestCode(one, application, { scope: 'openid notes:read' });
      const redeemed = await redeem(other.url, application, callback);
      assert.equal(redeemed.status, 200);
      const { refresh_token } = (await redeemed.json()) as { refresh_token: string };
      const renewed = await refresh(one, refresh_token);
      assert.equal(renewed.status, 200);
      assert.equal((await refresh(other, refresh_token)).status, 400);
      const { refresh_token: last } = (await renewed.json()) as { refresh_token: string };
      assert.equal((await refresh(other, last)).status, 400, 'the family ended');
    }
  });

  it('know the same session, and its ID tokens are good for openid-client as they are', async () => {
    const parameters = { max_age: '3600' };
    const { person, tokens } = await signIn(pair.a, application, { scope: 'openid', parameters });
    const { auth_time } = tokens.claims() as JWTPayload & { auth_time: number };
    const query = { client_id: application.client_id, response_type: 'code', scope: 'openid', prompt: 'none' };
    const challenge = {
      code_challenge: 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM',
      code_challenge_method: 'S256',
    };
    const all = { ...query, ...challenge, ...parameters, redirect_uri: 'https://app.example.com/callback' };
    for (const { url } of [pair.b, pair.a]) {
      const answer = await person.fetch(`${url}/authorize?${new URLSearchParams(all).toString()}`);
      assert.match(answer.headers.get('location') ?? '', /[?&]code=/);
    }
    assert.ok(Math.abs(auth_time - Date.now() / 1_000) < TOLERATED_SECONDS + 5);
  });

  it('each take the assertion of a client with the right time, and once in all', async () => {
    const { privateKey, publicKey } = await generateKeyPair('ES256');
    const client = await registerClient(pair.a, {
      grant_types: ['client_credentials'],
      token_endpoint_auth_method: 'private_key_jwt',
      jwks: { keys: [await exportJWK(publicKey)] },
    });
    for (const [one, other] of bothWays()) {
      const form = {
        grant_type: 'client_credentials',
        client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
        client_assertion: await new SignJWT({})
          .setProtectedHeader({ alg: 'ES256' })
          .setIssuer(client.client_id)
          .setSubject(client.client_id)
          .setAudience(pair.a.issuer)
          .setJti(`for ${one.url}`)
          .setIssuedAt()
          .setNotBefore('0 s')
          .setExpirationTime('1 min')
          .sign(privateKey),
      };
      const first = await postForm(`${one.url}/token`, form);
      assert.equal(first.status, 200, await first.text());
      assert.equal((await postForm(`${other.url}/token`, form)).status, 401);
    }
  });

  it('each take a DPoP proof of a client with the right time, and once in all', async () => {
    const { privateKey, publicKey } = await generateKeyPair('ES256');
    for (const [one, other] of bothWays()) {
      const proof = await new SignJWT({ htm: 'POST', htu: `${pair.a.issuer}/token`, jti: `for ${one.url}` })
        .setProtectedHeader({ alg: 'ES256', typ: 'dpop+jwt', jwk: await exportJWK(publicKey) })
        .setIssuedAt()
        .sign(privateKey);
      const headers = { dpop: proof, authorization: basic(application.client_id, application.client_secret) };
      const ask = ({ url }: Gatehouse): Promise<Response> =>
        postForm(`${url}/token`, { grant_type: 'client_credentials', scope: 'notes:read' }, undefined, headers);
      const first = await ask(one);
      assert.equal(first.status, 200, await first.text());
      assert.equal((await ask(other)).status, 400);
    }
  });

  it('learn of each other’s revocations within a second', async () => {
    for (const [one, other] of bothWays()) {
      const client = await registerClient(one);
      const token = await requestToken(other.url, client);
      assert.equal(await isActive(other, token), true);
      const revoked = await one.adminCall('POST', `/clients/${client.client_id}/revoke`, { reason: 'left' });
      assert.equal(revoked.status, 200);
      await eventually(async () => !(await isActive(other, token)));
      assert.equal((await postForm(`${other.url}/token`, { grant_type: 'client_credentials' }, client)).status, 401);
    }
  });

  it('remove nothing that the other one still takes for living', async () => {
    const { code, verifier } = await requestCode(pair.b, application);
    await removeExpiredRows(pair.a.database, new Date(Date.now() + 2 * TOLERATED_SECONDS * 1_000));
    assert.equal((await redeem(pair.b.url, application, { code, verifier })).status, 200);
  });
});

describe('a clock five minutes away from the database’s', () => {
  let pair: Pair;
  const processes = new Processes();
  before(async () => {
    pair = await startPair({}, [{}, { ...shiftedBy(0), TEST_CLOCK_JUMP_SECONDS: String(MINUTES) }]);
  });
  after(async () => {
    await processes.end();
    await pair.stop();
  });

  for (const [seconds, words] of [
    [MINUTES, 'ahead of'],
    [-MINUTES, 'behind'],
  ] as const) {
    it(`${words} it: the node doesn’t start, and says so in one sentence`, async () => {
      const { port, managementPort } = await freeAddresses();
      const { code, stderr } = await processes.run([NODE, MAIN], {
        ISSUER: pair.a.issuer,
        DATABASE_URL: pair.a.databaseUrl,
        GATEHOUSE_MASTER_KEY: TEST_MASTER_KEY,
        PORT: String(port),
        GATEHOUSE_MANAGEMENT_PORT: String(managementPort),
        ...shiftedBy(seconds),
      });
      assert.equal(code, 1);
      assert.match(
        stderr,
        new RegExp(
          `^Gatehouse can't start\\. This machine's clock is \\d+ s ${words} the database's, and 10 s are allowed: synchronize both by NTP\\.\n$`,
        ),
      );
    });
  }

  it('on a node that runs: nothing is given or said that would be dated wrongly, until the clock is right again', async (test) => {
    const { a, b } = pair;
    const earlier = await requestToken(b.url, b.demo);
    pair.signal(b, 'SIGUSR2');
    const began = performance.now();
    let newest = 0;
    let status = 200;
    while (status === 200 && performance.now() - began < 5_000) {
      const answer = await postForm(`${b.url}/token`, { grant_type: 'client_credentials' }, b.demo);
      ({ status } = answer);
      const body = (await answer.json()) as { access_token?: string };
      if (body.access_token) newest = decodeJwt(body.access_token).iat!;
    }
    test.diagnostic(
      `refused after ${Math.round(performance.now() - began)} ms; ${newest === 0 ? 'no token meanwhile' : `the newest token is dated ${newest - Math.round(Date.now() / 1_000)} s ahead`}`,
    );
    assert.equal(status, 503);
    assert.ok(newest < Date.now() / 1_000 + 10);
    for (const [path, form] of Object.entries({ '/introspect': { token: earlier }, '/token': {}, '/par': {} })) {
      const answer = await postForm(b.url + path, form, b.demo);
      assert.equal(answer.status, 503);
      assert.ok(Number(answer.headers.get('retry-after')) > 0);
    }
    for (const path of ['/jwks', '/.well-known/openid-configuration']) {
      assert.equal((await fetch(b.url + path)).status, 200);
    }
    const ready = await fetch(`${b.managementUrl}/readyz`);
    assert.equal(ready.status, 503);
    assert.match(await ready.text(), /"clock":"(299|300) s ahead of the database's"/);
    // the other one, whose clock is right, is not concerned
    await requestToken(a.url, a.demo);

    pair.signal(b, 'SIGUSR2');
    await eventually(async () => (await fetch(`${b.managementUrl}/readyz`)).status === 200);
    await requestToken(b.url, b.demo);
    const { rows } = await sql<{ ahead: number }>`select count(*)::int as ahead from audit_events
      where occurred_at > now() + interval '2 minutes'`.execute(a.database);
    assert.equal(rows[0]!.ahead, 0);
  });
});
