import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it, type TestContext } from 'node:test';
import { createRemoteJWKSet, customFetch, decodeProtectedHeader, errors, jwtVerify, type JWK } from 'jose';
import { KeyRotation } from '../../src/keys/rotation.ts';
import { MasterKey } from '../../src/vault/master_key.ts';
import { Vault } from '../../src/vault/vault.ts';
import { moveClock, resetClock } from '../support/node/clock.ts';
import { registerApplication, signIn } from '../support/client/code_flow.ts';
import { everythingStored } from '../support/node/stored_values.ts';
import { postForm, requestToken, startGatehouse, TEST_MASTER_KEY, type Gatehouse } from '../support/node/gatehouse.ts';
import { openTrail } from '../support/node/audit_trail.ts';
import { eventually, registerClient, registerResource, type RegisteredClient } from '../support/node/operator.ts';

const JWKS_MAX_AGE_SECONDS = 300;
const DAY_SECONDS = 86_400;

describe('signing keys', () => {
  let gatehouse: Gatehouse;
  let client: RegisteredClient;
  let resourceServer: RegisteredClient;
  beforeEach(async () => {
    gatehouse = await startGatehouse();
    client = await registerClient(gatehouse);
    resourceServer = await registerClient(gatehouse, { resources: [], introspects: [gatehouse.demo.resource] });
  });
  afterEach(async () => {
    resetClock();
    await gatehouse.stop();
  });
  const startSecond = async (t: TestContext): Promise<Gatehouse> => {
    const second = await startGatehouse({ beside: gatehouse });
    t.after(() => second.stop());
    return second;
  };

  const rotate = (body: object = {}, node = gatehouse): Promise<Response> =>
    node.adminCall('POST', '/keys/rotate', { alg: 'ES256', reason: 'A test', ...body });
  const rotateNow = async (body: object = {}): Promise<void> => {
    const response = await rotate(body);
    assert.equal(response.status, 200, await response.text());
  };
  const published = async (node = gatehouse): Promise<string[]> => {
    const { keys } = (await (await fetch(`${node.url}/jwks`)).json()) as { keys: JWK[] };
    return keys.filter(({ alg }) => alg === 'ES256').map(({ kid }) => kid!);
  };
  const kidOf = (token: string): string => decodeProtectedHeader(token).kid!;
  const isActive = async (token: string, node = gatehouse): Promise<boolean> => {
    const response = await postForm(`${node.url}/introspect`, { token }, resourceServer);
    return ((await response.json()) as { active: boolean }).active;
  };
  const hasHeard = (node: Gatehouse, kid: string): Promise<void> =>
    eventually(async () => kidOf(await requestToken(node.url, client)) === kid);

  it('rotate without one failure for a resource server that keeps our JWKS as long as it may', async (t) => {
    const second = await startSecond(t);
    let fetched = 0;
    const jwks = createRemoteJWKSet(new URL(`${gatehouse.issuer}/jwks`), {
      cacheMaxAge: JWKS_MAX_AGE_SECONDS * 1_000,
      cooldownDuration: Infinity, // never asks again before its copy is too old, not even for an unknown kid
      [customFetch]: (url, options) => {
        fetched++;
        return fetch(url, options);
      },
    });
    const seen = new Set<string>();
    const verifyFromBoth = async (): Promise<void> => {
      for (const { url } of [gatehouse, second, gatehouse, second]) {
        const token = await requestToken(url, client);
        seen.add(kidOf(token));
        await jwtVerify(token, jwks, { issuer: gatehouse.issuer, audience: gatehouse.demo.resource });
      }
    };
    await verifyFromBoth();
    for (let rotation = 0; rotation < 3; rotation++) {
      await rotateNow();
      await verifyFromBoth();
      await hasHeard(second, (await published())[0]!);
      await verifyFromBoth();
      moveClock(JWKS_MAX_AGE_SECONDS);
    }
    assert.equal(seen.size, 4);
    assert.equal(fetched <= 4, true, `${fetched} fetches`);
  });

  it('still verify what was signed before: a token outlives the rotation', async (t) => {
    const second = await startSecond(t);
    const before = await requestToken(gatehouse.url, client);
    await rotateNow();
    assert.notEqual(kidOf(await requestToken(gatehouse.url, client)), kidOf(before));
    const jwks = createRemoteJWKSet(new URL(`${gatehouse.issuer}/jwks`));
    await jwtVerify(before, jwks, { issuer: gatehouse.issuer, audience: gatehouse.demo.resource });
    assert.equal(await isActive(before), true);
    assert.equal(await isActive(before, second), true);
  });

  it('serve ID tokens and the sessions of people across a rotation', async () => {
    const application = await registerApplication(gatehouse);
    const { person } = await signIn(gatehouse, application);
    await rotateNow();
    const { tokens } = await signIn(gatehouse, application, { person });
    assert.equal(typeof tokens.claims()?.sub, 'string');
    assert.equal(person.trace.filter((line) => line.endsWith('login 303')).length, 1, 'had to log in again');
  });

  it('are not rotated again before every verifier can know the next one: 409 and Retry-After', async () => {
    await rotateNow();
    const soon = await rotate();
    assert.equal(soon.status, 409);
    const wait = Number(soon.headers.get('retry-after'));
    assert.equal(wait > JWKS_MAX_AGE_SECONDS - 30 && wait <= JWKS_MAX_AGE_SECONDS, true, `${wait}`);
    const before = await published();

    moveClock(wait);
    await rotateNow();
    assert.notDeepEqual(await published(), before);
  });

  it('rotate each algorithm by itself', async () => {
    const slow = await registerResource(gatehouse, 'slow', { signing_alg: 'RS256' });
    const who = await registerClient(gatehouse, { resources: [slow] });
    const before = kidOf(await requestToken(gatehouse.url, who));
    await rotateNow();
    assert.equal(kidOf(await requestToken(gatehouse.url, who)), before);
    await rotateNow({ alg: 'RS256' });
    assert.notEqual(kidOf(await requestToken(gatehouse.url, who)), before);
  });

  describe('in an emergency', () => {
    it('leave JWKS at once on both nodes, and what they signed is inactive', async (t) => {
      const second = await startSecond(t);
      const stolen = await requestToken(gatehouse.url, client);
      assert.equal(await isActive(stolen, second), true);
      await rotateNow({ emergency: true });

      assert.equal((await published()).includes(kidOf(stolen)), false);
      assert.equal(await isActive(stolen), false);
      await eventually(async () => !(await published(second)).includes(kidOf(stolen)));
      await eventually(async () => !(await isActive(stolen, second)));

      const jwks = createRemoteJWKSet(new URL(`${gatehouse.issuer}/jwks`));
      await assert.rejects(jwtVerify(stolen, jwks), errors.JWKSNoMatchingKey);
      assert.equal(await isActive(await requestToken(gatehouse.url, client)), true);
    });

    it('need not wait for verifiers: one may follow the other', async () => {
      await rotateNow({ emergency: true });
      await rotateNow({ emergency: true });
    });

    it('leave no part of the old key in the database', async () => {
      const kid = kidOf(await requestToken(gatehouse.url, client));
      const { data_key_id } = await gatehouse.database
        .selectFrom('signing_keys')
        .select('data_key_id')
        .where('kid', '=', kid)
        .executeTakeFirstOrThrow();
      await rotateNow({ emergency: true });
      const keys = gatehouse.database.selectFrom('signing_keys').where('kid', '=', kid).select('kid');
      const dataKeys = gatehouse.database
        .selectFrom('data_keys')
        .where('data_key_id', '=', data_key_id)
        .select('purpose');
      assert.deepEqual([await keys.execute(), await dataKeys.execute()], [[], []]);
    });
  });

  it('rotate once when two nodes rotate at the same moment', async (t) => {
    const second = await startSecond(t);
    const answers = await Promise.all([rotate({}, gatehouse), rotate({}, second)]);
    assert.deepEqual(answers.map(({ status }) => String(status)).sort(), ['200', '409']);
    assert.equal((await published()).length, 3);
  });

  describe('on schedule', () => {
    const schedule = async (): Promise<KeyRotation> => {
      const { database } = gatehouse;
      return new KeyRotation({
        database,
        vault: new Vault(database, [new MasterKey(Buffer.from(TEST_MASTER_KEY, 'base64'))]),
        trail: await openTrail(database),
        jwksMaxAgeSeconds: JWKS_MAX_AGE_SECONDS,
        rotationDays: 30,
        rsaBits: 2_048,
      });
    };

    it('rotate after 30 days and not before, once for all nodes', async () => {
      const [current] = await published();
      await (await schedule()).runSchedule(new Date(Date.now() + 29.9 * DAY_SECONDS * 1_000));
      assert.deepEqual((await published())[0], current);

      moveClock(30.1 * DAY_SECONDS);
      await Promise.all([(await schedule()).runSchedule(new Date()), (await schedule()).runSchedule(new Date())]);
      await eventually(async () => (await published())[0] !== current);
      const rows = await gatehouse.database
        .selectFrom('signing_keys')
        .select('status')
        .where('alg', '=', 'ES256')
        .execute();
      assert.deepEqual(rows.map(({ status }) => status).sort(), ['current', 'next', 'previous']);
    });

    it('remove the previous key when the last token that it signed has expired, and not before', async () => {
      const token = await requestToken(gatehouse.url, client);
      await rotateNow();
      const rotatedAt = Date.now();
      await (await schedule()).runSchedule(new Date(rotatedAt + DAY_SECONDS * 1_000));
      assert.equal((await published()).includes(kidOf(token)), true);

      await (await schedule()).runSchedule(new Date(rotatedAt + (DAY_SECONDS + JWKS_MAX_AGE_SECONDS + 2) * 1_000));
      await eventually(async () => !(await published()).includes(kidOf(token)));
    });
  });

  it('are of no use to a reader of the database: no private half in any column', async () => {
    await rotateNow();
    const values = await everythingStored(gatehouse.database);
    assert.equal(
      values.some(({ table }) => table === 'signing_keys'),
      true,
    );
    for (const { where, text } of values) {
      assert.doesNotMatch(text, /"(d|p|q|dp|dq|qi|k|priv)"\s*:|PRIVATE KEY/, where);
    }
  });
});
