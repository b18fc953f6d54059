import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { exportJWK, generateKeyPair, SignJWT } from 'jose';
import { sql } from 'kysely';
import { redeem, registerApplication, requestCode, signIn } from '../support/client/code_flow.ts';
import {
  CONNECTED,
  connectDevice,
  fieldsOf,
  poll,
  post,
  registerDevice,
  requestDevice,
} from '../support/person/device_flow.ts';
import { postForm, requestToken } from '../support/node/gatehouse.ts';
import { eventually, registerClient, type RegisteredClient } from '../support/node/operator.ts';
import { atOnce, startPair, type Pair } from '../support/node/pair.ts';
import { Person } from '../support/person/person.ts';
import {
  askForToken,
  assertDead,
  count,
  CROWD,
  forNotes,
  refresh,
  winnersOf,
  type Tokens,
} from '../support/client/races.ts';

describe('what is single-use, asked for by many at once on two nodes', () => {
  let pair: Pair;
  let application: RegisteredClient;
  before(async () => {
    pair = await startPair({
      GATEHOUSE_REFRESH_GRACE_SECONDS: '0',
      // each replay of an assertion is a failure, and past the limit those are answered otherwise
      GATEHOUSE_FAILED_AUTHENTICATIONS_PER_MINUTE: '100000',
    });
    application = await registerApplication(pair.a);
  });
  after(() => pair.stop());

  it('an authorization code gives tokens once at most, and those are dead when it was tried again', async (t) => {
    let won = 0;
    for (let round = 0; round < 5; round++) {
      const callback = await requestCode(pair.a, application, {
        scope: 'openid notes:read',
        parameters: forNotes(pair),
      });
      const answers = await atOnce(CROWD, pair, (node) => redeem(node.url, application, callback));
      const winners = await winnersOf(answers);
      won += winners.length;
      for (const tokens of winners) await assertDead(pair, application, tokens);
    }
    t.diagnostic(`5 codes, ${5 * CROWD} redemptions: ${won} answers with tokens`);
  });

  it('a refresh token without grace gives tokens once at most, and its family is dead (CVE-2026-1035) (TOK-R07)', async (t) => {
    let won = 0;
    for (let round = 0; round < 5; round++) {
      const { tokens } = await signIn(pair.a, application, { scope: 'openid notes:read', parameters: forNotes(pair) });
      const first = tokens as unknown as Tokens;
      const answers = await atOnce(CROWD, pair, (node) => refresh(node, application, first.refresh_token));
      const winners = await winnersOf(answers);
      won += winners.length;
      for (const family of [first, ...winners]) await assertDead(pair, application, family);
    }
    t.diagnostic(`5 refresh tokens, ${5 * CROWD} uses: ${won} answers with tokens`);
  });

  it('a device code gives tokens to one poll, and the others are told to slow down or that it was used', async () => {
    const tv = await registerDevice(pair.a);
    for (let round = 0; round < 3; round++) {
      const { device_code, user_code } = await requestDevice(pair.a, tv, { scope: 'openid notes:read' });
      await connectDevice(pair.a, user_code);
      const answers = await atOnce(CROWD, pair, (node) => poll(node, tv, device_code));
      const [winner, ...others] = answers.filter(({ status }) => status === 200);
      assert.equal(others.length, 0);
      const refused = answers.filter(({ error }) => error === 'slow_down' || error === 'invalid_grant');
      assert.equal(refused.length, CROWD - 1);
      const again = { grant_type: 'refresh_token', refresh_token: winner!.refresh_token! };
      const renewed = await post(`${pair.b.url}/token`, tv, again);
      assert.equal(renewed.status, 200);
    }
  });

  it('a device code gives tokens once at most, even to polls that no interval holds back', async () => {
    const tv = await registerDevice(pair.a);
    const { device_code, user_code } = await requestDevice(pair.a, tv);
    await connectDevice(pair.a, user_code);
    const forgetPolls = sql`update device_codes set polled_at = null`;
    const restless = setInterval(() => void forgetPolls.execute(pair.a.database).catch(() => {}), 1);
    const polls = atOnce(CROWD, pair, (node) => poll(node, tv, device_code));
    const answers = await polls.finally(() => clearInterval(restless));
    // one that comes after the tokens may end them before they are out
    assert.ok(answers.filter(({ status }) => status === 200).length <= 1);
    for (const { status, error } of answers) if (status !== 200) assert.match(error!, /^(slow_down|invalid_grant)$/);
  });

  it('a user code is taken by one browser, even if others enter it', async () => {
    const tv = await registerDevice(pair.a);
    const { device_code, user_code } = await requestDevice(pair.a, tv);
    // all at the issuer: the pages' forms lead nowhere else
    const people = Array.from({ length: 8 }, () => new Person(pair.a));
    const page = `${pair.a.issuer}/device`;
    const shown = await Promise.all(people.map((person) => person.open(page)));
    const entered = await Promise.all(
      people.map((person, index) => person.submit(page, { ...fieldsOf(shown[index]!.page), user_code })),
    );
    const ahead = entered.flatMap((arrival, index) => (/Log in/.test(arrival.page) ? [{ arrival, index }] : []));
    assert.equal(ahead.length, 1);
    const end = await people[ahead[0]!.index]!.finish(ahead[0]!.arrival);
    assert.match(end.page, CONNECTED);
    assert.equal((await poll(pair.b, tv, device_code)).status, 200);
  });

  it('a client assertion authenticates exactly once', async () => {
    const { privateKey, publicKey } = await generateKeyPair('ES256');
    const client = await registerClient(pair.a, {
      grant_types: ['client_credentials'],
      token_endpoint_auth_method: 'private_key_jwt',
      jwks: { keys: [await exportJWK(publicKey)] },
    });
    for (let round = 0; round < 5; round++) {
      const assertion = await new SignJWT({})
        .setProtectedHeader({ alg: 'ES256' })
        .setIssuer(client.client_id)
        .setSubject(client.client_id)
        .setAudience(pair.a.issuer)
        .setJti(`assertion ${round}`)
        .setIssuedAt()
        .setExpirationTime('1 min')
        .sign(privateKey);
      const answers = await atOnce(CROWD, pair, ({ url }) =>
        postForm(`${url}/token`, {
          grant_type: 'client_credentials',
          client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
          client_assertion: assertion,
        }),
      );
      assert.deepEqual(count(answers), { 200: 1, 401: CROWD - 1 });
    }
  });

  it('an idempotency key makes one client, with requests at both nodes', async () => {
    const token = await pair.a.adminToken();
    const body = JSON.stringify({ client_name: 'Made once', grant_types: ['client_credentials'] });
    const answers = await atOnce(CROWD, pair, ({ url }) =>
      fetch(`${url}/admin/v1/clients`, {
        method: 'POST',
        headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json', 'idempotency-key': 'once' },
        body,
      }),
    );
    assert.deepEqual(count(answers), { 201: CROWD });
    const made = await Promise.all(answers.map(async (answer) => (await answer.json()) as RegisteredClient));
    assert.equal(new Set(made.map((client) => client.client_id)).size, 1);
    assert.equal(new Set(made.map((client) => client.client_secret)).size, 1);
    const list = await pair.b.adminCall('GET', '/clients?q=Made%20once');
    assert.equal(((await list.json()) as { items: unknown[] }).items.length, 1);
  });

  it('a signing key is rotated once by many rotations at once, and both nodes sign with the new one', async () => {
    const token = await pair.a.adminToken();
    const answers = await atOnce(CROWD, pair, ({ url }) =>
      fetch(`${url}/admin/v1/keys/rotate`, {
        method: 'POST',
        headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
        body: JSON.stringify({ alg: 'ES256', reason: 'everybody at once' }),
      }),
    );
    assert.deepEqual(count(answers), { 200: 1, 409: CROWD - 1 });
    const rotated = (await answers.find(({ status }) => status === 200)!.json()) as { current: { kid: string } };
    const keys = await pair.a.database.selectFrom('signing_keys').select('status').where('alg', '=', 'ES256').execute();
    assert.deepEqual(keys.map(({ status }) => status).toSorted(), ['current', 'next', 'previous']);
    for (const node of [pair.a, pair.b]) {
      await eventually(async () => {
        const header = (await requestToken(node.url, node.demo)).split('.')[0]!;
        return (JSON.parse(Buffer.from(header, 'base64url').toString()) as { kid: string }).kid === rotated.current.kid;
      });
    }
  });

  it('rotations of one secret that overlap lose none: each that was acknowledged works, on both nodes', async () => {
    const client = await registerClient(pair.a, { grant_types: ['client_credentials'] });
    const token = await pair.a.adminToken();
    const answers = await atOnce(CROWD, pair, ({ url }) =>
      fetch(`${url}/admin/v1/clients/${client.client_id}/secrets`, {
        method: 'POST',
        headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
        body: JSON.stringify({ overlap_seconds: 3_600 }),
      }),
    );
    // ten may live at once, and there was one
    assert.deepEqual(count(answers), { 201: 9, 409: CROWD - 9 });
    const issued = answers
      .filter(({ status }) => status === 201)
      .map(async (answer) => answer.json() as Promise<RegisteredClient>);
    for (const { client_secret } of [client, ...(await Promise.all(issued))]) {
      for (const { url } of [pair.a, pair.b]) {
        await eventually(async () => {
          const { status } = await askForToken(url, { ...client, client_secret });
          return status === 200;
        });
      }
    }
  });
});
