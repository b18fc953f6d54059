import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import { decodeJwt, exportJWK, generateKeyPair, SignJWT } from 'jose';
import { sql } from 'kysely';
import pg from 'pg';
import { redeem, REDIRECT_URI, registerApplication, requestCode, signIn } from './support/code_flow.ts';
import { ADMIN_SCOPES } from '../src/admin/scopes.ts';
import { ensureAdminResource } from '../src/bootstrap/admin_access.ts';
import { createDatabase, createPool } from '../src/db/connection.ts';
import {
  connectDevice,
  enterCode,
  fieldsOf,
  poll,
  post,
  registerDevice,
  requestDevice,
} from './support/device_flow.ts';
import { cloneDatabase, emptyDatabase } from './support/database.ts';
import { postForm, requestToken, TEST_MASTER_KEY, type Gatehouse } from './support/gatehouse.ts';
import { change, eventually, registerClient, type RegisteredClient } from './support/operator.ts';
import { atOnce, startPair, type Pair } from './support/pair.ts';
import { Person } from './support/person.ts';
import { Processes } from './support/process.ts';

/** More than one node has connections to its database. */
const CROWD = 24;

interface Tokens {
  readonly access_token: string;
  readonly refresh_token: string;
}

describe('what is single-use, asked for by many at once on two nodes', () => {
  let pair: Pair;
  let application: RegisteredClient;
  before(async () => {
    pair = await startPair({ GATEHOUSE_REFRESH_GRACE_SECONDS: '0' });
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

  it('a device code gives tokens to one poll, and the others are told to slow down', async () => {
    const tv = await registerDevice(pair.a);
    for (let round = 0; round < 3; round++) {
      const { device_code, user_code } = await requestDevice(pair.a, tv, { scope: 'openid notes:read' });
      await connectDevice(pair.a, user_code);
      const answers = await atOnce(CROWD, pair, (node) => poll(node, tv, device_code));
      const [winner, ...others] = answers.filter(({ status }) => status === 200);
      assert.equal(others.length, 0);
      assert.equal(answers.filter(({ error }) => error === 'slow_down').length, CROWD - 1);
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
    const answers = await atOnce(CROWD, pair, (node) => poll(node, tv, device_code));
    clearInterval(restless);
    // one that comes after the tokens may end them before they are out
    assert.ok(answers.filter(({ status }) => status === 200).length <= 1);
    for (const { status, error } of answers) if (status !== 200) assert.match(error!, /^(slow_down|invalid_grant)$/);
  });

  it('a user code is confirmed by one browser, whoever else has it on the screen', async () => {
    const tv = await registerDevice(pair.a);
    const { device_code, user_code } = await requestDevice(pair.a, tv);
    // all at the issuer: the pages' forms lead nowhere else
    const people = Array.from({ length: 8 }, () => new Person(pair.a));
    const shown = await Promise.all(people.map((person) => enterCode(pair.a, person, user_code)));
    const confirmed = await Promise.all(
      people.map((person, index) => person.submit(`${pair.a.issuer}/device`, fieldsOf(shown[index]!.page))),
    );
    const ahead = confirmed.flatMap((arrival, index) => (/Log in/.test(arrival.page) ? [{ arrival, index }] : []));
    assert.equal(ahead.length, 1);
    const { page } = await people[ahead[0]!.index]!.finish(ahead[0]!.arrival);
    assert.match(page, /Your device is connected/);
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

  it('an idempotency key makes one client, whichever node a request comes to', async () => {
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

describe('what goes on at once on two nodes', () => {
  let pair: Pair;
  let application: RegisteredClient;
  before(async () => {
    pair = await startPair();
    application = await registerApplication(pair.a);
  });
  after(() => pair.stop());

  it('a refresh token used many times within its grace gives successors of one family, which ends as one', async (t) => {
    const { tokens } = await signIn(pair.a, application, { scope: 'openid notes:read', parameters: forNotes(pair) });
    const first = tokens as unknown as Tokens;
    const answers = await atOnce(CROWD, pair, (node) => refresh(node, application, first.refresh_token));
    const winners = await winnersOf(answers, CROWD);
    t.diagnostic(`${CROWD} uses within the grace: ${winners.length} successors`);
    assert.ok(winners.length > 0);
    const families = new Set([first, ...winners].map(({ access_token }) => decodeJwt(access_token)['gid']));
    assert.equal(families.size, 1);
    await postForm(`${pair.b.url}/revoke`, { token: winners[0]!.refresh_token }, application);
    for (const family of [first, ...winners]) await assertDead(pair, application, family);
  });

  it('authorization requests of one session in many tabs all succeed', async () => {
    const person = new Person(pair.a, { remember: true });
    const parameters = { scope: 'openid notes:read', parameters: forNotes(pair), person };
    await requestCode(pair.a, application, parameters);
    const { location, verifier } = authorizationRequest(pair, application);
    const answers = await atOnce(CROWD, pair, (node) => person.fetch(`${node.url}${location}`));
    const codes = answers.map((answer) => new URL(answer.headers.get('location') ?? '').searchParams.get('code') ?? '');
    assert.deepEqual(count(answers), { 303: CROWD });
    const redeemed = await atOnce(CROWD, pair, (node, index) =>
      redeem(node.url, application, { code: codes[index]!, verifier }),
    );
    assert.deepEqual(count(redeemed), { 200: CROWD });
    // whichever answer came last, its cookie is that of a living session
    const later = await person.fetch(`${pair.b.url}${location}`);
    assert.match(later.headers.get('location') ?? '', /[?&]code=/);
  });

  it('guesses of a password are counted before they are looked at, by both nodes together', async (t) => {
    const email = 'victim@example.com';
    const person = new Person(pair.a);
    const { location } = authorizationRequest(pair, application);
    const { url } = await person.open(`${pair.a.url}${location}`);
    const path = `${new URL(url).pathname}/login`;
    const answers = await atOnce(50, pair, (node, index) =>
      person.fetch(`${node.url}${path}`, {
        method: 'POST',
        body: new URLSearchParams({ email, password: `guess number ${index}` }),
      }),
    );
    const counted = count(answers);
    t.diagnostic(`50 guesses at once: ${JSON.stringify(counted)}`);
    assert.deepEqual(counted, { 401: 5, 429: 45 });
    const events = pair.a.database.selectFrom('audit_events').select((of) => of.fn.countAll<number>().as('count'));
    const failed = await events.where('event', '=', 'login.failed').executeTakeFirstOrThrow();
    assert.equal(failed.count, 5);
  });

  for (const listening of [true, false]) {
    it(`a client revoked on one node is refused by the other within a second, ${listening ? 'told by NOTIFY' : 'though nothing tells it'}`, async (t) => {
      const took: number[] = [];
      for (let round = 0; round < 3; round++) took.push(await revokeAndWatch(pair, listening));
      t.diagnostic(`refused after ${took.map((ms) => Math.round(ms)).join(', ')} ms`);
      assert.ok(Math.max(...took) <= 1_000);
    });
  }
});

describe('several nodes that start at once', () => {
  it('make the tables, the keys and the admin API of an empty database once, and are all ready', async (t) => {
    const processes = new Processes();
    const database = await emptyDatabase();
    t.after(async () => {
      await processes.end();
      await database.drop();
    });
    const environment = {
      NODE_ENV: 'production',
      ISSUER: 'https://id.example.com',
      DATABASE_URL: database.url,
      GATEHOUSE_MASTER_KEY: TEST_MASTER_KEY,
    };
    const servers = await Promise.all([1, 2, 3].map(() => processes.start(environment)));
    const keys = await Promise.all(servers.map(async ({ url }) => (await fetch(`${url}/jwks`)).json()));
    for (const other of keys) assert.deepEqual(other, keys[0]);
    const client = new pg.Client({ connectionString: database.url });
    await client.connect();
    const ask = async (query: string): Promise<unknown[]> => (await client.query(query)).rows;
    assert.deepEqual(await ask('select alg, status from signing_keys order by alg, status'), [
      { alg: 'ES256', status: 'current' },
      { alg: 'ES256', status: 'next' },
      { alg: 'RS256', status: 'current' },
      { alg: 'RS256', status: 'next' },
    ]);
    assert.deepEqual(await ask('select identifier from resources'), [
      { identifier: 'https://id.example.com/admin/v1' },
    ]);
    assert.deepEqual(
      await ask(
        `select purpose, count(*)::int from data_keys where purpose <> 'signing_key' group by purpose having count(*) > 1`,
      ),
      [],
    );
    await client.end();
    for (const { output } of servers) assert.equal(output().stderr, '');
  });

  it('register the admin API once, though each sees that it is missing', async (t) => {
    const clone = await cloneDatabase();
    const pool = createPool({ connectionString: clone.url, maxConnections: 8, onIdleError: () => {} });
    t.after(async () => {
      await pool.end();
      await clone.drop();
    });
    const gatehouse = { database: createDatabase(pool) };
    await Promise.all(Array.from({ length: 8 }, () => pool.query('select 1')));
    const adminApi = { identifier: 'https://id.example.com/admin/v1', scopes: ADMIN_SCOPES };
    await Promise.all(Array.from({ length: 8 }, () => change(gatehouse, (its) => ensureAdminResource(its, adminApi))));
    const made = await gatehouse.database.selectFrom('audit_events').select('event').execute();
    assert.deepEqual(made, [{ event: 'resource.created' }]);
  });
});

/** Milliseconds from the answer of the revocation on one node until the other one refuses all that the client has. */
async function revokeAndWatch(pair: Pair, listening: boolean): Promise<number> {
  const { a, b } = pair;
  const client = await registerApplication(a, {
    grant_types: ['authorization_code', 'refresh_token', 'client_credentials'],
  });
  const signedIn = await signIn(a, client, { scope: 'openid notes:read', parameters: forNotes(pair) });
  const tokens = signedIn.tokens as unknown as Tokens;
  const own = await requestToken(b.url, client, 'notes:read');
  const token = await a.adminToken('clients:revoke');
  if (!listening) await silence(b);
  // also fills the cache that the revocation has to empty
  assert.ok(await isActive(b, b.demo, own));
  assert.ok(await isActive(b, b.demo, tokens.access_token));

  const revoked = await fetch(`${a.url}/admin/v1/clients/${client.client_id}/revoke`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ reason: 'found in a public repository' }),
  });
  const began = performance.now();
  assert.equal(revoked.status, 200);
  assert.equal(await listeners(b), listening ? 2 : 0);
  // the grant's row is gone: no node needs to hear of that
  assert.equal(await isActive(b, b.demo, tokens.access_token), false);
  await eventually(async () => !(await isActive(b, b.demo, own)), 1_500);
  await eventually(async () => (await askForToken(b.url, client)).status === 401, 1_500);
  await eventually(async () => (await refresh(b, client, tokens.refresh_token)).status === 401, 1_500);
  return performance.now() - began;
}

/**
 * Cuts the connections that wait for NOTIFY; a node opens its next one only after a second. This happens when the node
 * has just looked for changes, so that it takes the longest until it does again.
 */
async function silence(node: Gatehouse): Promise<void> {
  await eventually(async () => (await listeners(node)) === 2, 3_000);
  await eventually(async () => (await changeLogAgeSeconds(node)) < 0.03);
  await sql`select pg_terminate_backend(pid) from pg_stat_activity where ${LISTENS}`.execute(node.database);
  await eventually(async () => (await listeners(node)) === 0);
}

const LISTENS = sql`datname = current_database() and application_name = 'gatehouse listener' and query like 'listen%'`;

async function listeners({ database }: Gatehouse): Promise<number> {
  return (await sql`select 1 from pg_stat_activity where ${LISTENS}`.execute(database)).rows.length;
}

async function changeLogAgeSeconds({ managementUrl }: Gatehouse): Promise<number> {
  const metrics = await (await fetch(`${managementUrl}/metrics`)).text();
  return Number(/^gatehouse_change_log_age_seconds (\S+)$/m.exec(metrics)?.[1]);
}

function forNotes({ a }: Pair): { resource: string } {
  return { resource: a.demo.resource };
}

function authorizationRequest(
  { a }: Pair,
  { client_id }: RegisteredClient,
  changed: Readonly<Record<string, string>> = {},
) {
  const verifier = 'a-verifier-that-is-long-enough-to-be-one-0123456789';
  const parameters = new URLSearchParams({
    client_id,
    response_type: 'code',
    redirect_uri: REDIRECT_URI,
    scope: 'openid notes:read',
    resource: a.demo.resource,
    code_challenge: createHash('sha256').update(verifier).digest('base64url'),
    code_challenge_method: 'S256',
    ...changed,
  });
  for (const [name, value] of Object.entries(changed)) if (value === '') parameters.delete(name);
  return { location: `/authorize?${parameters.toString()}`, verifier };
}

function refresh(node: Gatehouse, client: RegisteredClient, refresh_token: string): Promise<Response> {
  return postForm(`${node.url}/token`, { grant_type: 'refresh_token', refresh_token }, client);
}

function askForToken(url: string, client: RegisteredClient): Promise<Response> {
  return postForm(`${url}/token`, { grant_type: 'client_credentials' }, client);
}

async function isActive(node: Gatehouse, asking: RegisteredClient, token: string): Promise<boolean> {
  const answer = await postForm(`${node.url}/introspect`, { token }, asking);
  assert.equal(answer.status, 200);
  return ((await answer.json()) as { active: boolean }).active;
}

/** No answer but tokens and a refusal, and no more tokens than may be. */
async function winnersOf(answers: readonly Response[], atMost = 1): Promise<Tokens[]> {
  const bodies = await Promise.all(
    answers.map(async (answer) => ({
      status: answer.status,
      body: (await answer.json()) as Tokens & { error?: string },
    })),
  );
  const winners = bodies.filter(({ status }) => status === 200);
  const others = bodies.filter(({ status }) => status !== 200);
  assert.ok(winners.length <= atMost, `${winners.length} answers with tokens`);
  for (const { status, body } of others) assert.deepEqual([status, body.error], [400, 'invalid_grant']);
  return winners.map(({ body }) => body);
}

async function assertDead(pair: Pair, client: RegisteredClient, tokens: Tokens): Promise<void> {
  for (const node of [pair.a, pair.b]) {
    assert.equal(await isActive(node, client, tokens.access_token), false);
    const answer = await refresh(node, client, tokens.refresh_token);
    assert.equal(answer.status, 400);
  }
}

/** How many answers there were of each status. */
function count(answers: readonly Response[]): Record<string, number> {
  const counted: Record<string, number> = {};
  for (const { status } of answers) counted[status] = (counted[status] ?? 0) + 1;
  return counted;
}
