import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { sha256 } from '../../src/base/secret.ts';
import { DEVICE_CODE } from '../../src/clients/metadata/flows.ts';
import { transact } from '../../src/db/transaction.ts';
import { takeBackUse, timeOfUse, useArtifact, type TimeOfUse } from '../../src/oidc/storage/token_rows.ts';
import { authorizationRequest } from '../support/client/authorization_request.ts';
import { createDatabase, createPool } from '../../src/db/connection.ts';
import { basic, REDIRECT_URI, registerApplication, requestCode, signIn } from '../support/client/code_flow.ts';
import { Cluster, Way } from '../support/node/unreachable_database.ts';
import { connectDevice, registerDevice, requestDevice } from '../support/person/device_flow.ts';
import { postForm, requestToken, type Gatehouse } from '../support/node/gatehouse.ts';
import { eventually, registerClient, type RegisteredClient } from '../support/node/operator.ts';
import { startPair, type Pair } from '../support/node/pair.ts';

/** `npm run test:faults` keeps the outage up for 12 s or longer; `npm test` for a moment. */
const HELD_UP_MILLISECONDS = Math.max(2_000, Math.min(12_000, Number(process.env.FAULT_SECONDS ?? 0) * 1_000));

describe('a code or refresh token that the database used up without a word', () => {
  let cluster: Cluster;
  let way: Way;
  let pair: Pair;
  let pool: pg.Pool;
  /** The first node, and the database as the operator reaches it. */
  let gatehouse: Gatehouse;
  before(async () => {
    cluster = await Cluster.start();
    way = await Way.to(cluster);
    pair = await startPair({
      DATABASE_URL: way.url(cluster),
      // nothing that is used twice may be excused by the grace
      GATEHOUSE_REFRESH_GRACE_SECONDS: '0',
      GATEHOUSE_DATABASE_PATIENCE_MILLISECONDS: '1000',
    });
    pool = createPool({ connectionString: cluster.url, maxConnections: 2, onIdleError: () => {} });
    gatehouse = { ...pair.a, databaseUrl: cluster.url, database: createDatabase(pool) };
  });
  after(async () => {
    await pair.stop();
    await pool.end();
    way.close();
    await cluster.stop();
  });

  const send = (node: Gatehouse, client: RegisteredClient, form: Form, query: string): Promise<Response> =>
    fetch(`${node.url}/token${query}`, {
      method: 'POST',
      headers: { authorization: basic(client.client_id, client.client_secret) },
      body: new URLSearchParams(form),
    });

  for (const [path, query, asked] of [
    ['the fast path', '', 'gatehouse_use_up_token'],
    ['the ordinary path', '?ordinary', 'commit'],
  ] as const) {
    for (const [what, prepare] of Object.entries({ 'a code': aCode, 'a refresh token': aRefreshToken })) {
      it(`is good again at both nodes once the database answers: ${what} on ${path} (FIELD-H3)`, async () => {
        const client = await registerApplication(gatehouse);
        const form = await prepare(gatehouse, client);
        way.muteAt(asked);
        const withheld = await send(pair.a, client, form, query);
        assert.equal(withheld.status, 503, await withheld.text());
        assert.equal(await isUsed(gatehouse, form), true, 'the database has not done what it was asked');
        await delay(HELD_UP_MILLISECONDS);
        way.open();
        // the client is told when to retry, and retries at the other node
        const answer = await untilServed(() => send(pair.b, client, form, query));
        assert.equal(answer.status, 200, await answer.clone().text());
        const { refresh_token } = (await answer.json()) as { refresh_token: string };
        const next = await untilServed(() =>
          send(pair.a, client, { grant_type: 'refresh_token', refresh_token }, query),
        );
        assert.equal(next.status, 200, await next.text());
        const events = await eventsAbout(gatehouse, client);
        assert.equal(events.filter((event) => event === 'token.undelivered').length, 1);
        assert.deepEqual(
          events.filter((event) => /reused|revoked|refused/.test(event)),
          [],
        );
      });
    }
  }

  it('is good again at both nodes once the database answers: a device code (FIELD-H3)', async () => {
    const client = await registerDevice(gatehouse);
    const { device_code, user_code } = await requestDevice(gatehouse, client);
    await connectDevice(gatehouse, user_code);
    const poll = (node: Gatehouse) =>
      postForm(`${node.url}/token`, { client_id: client.client_id, grant_type: DEVICE_CODE, device_code });
    way.muteAt('commit');
    const withheld = await poll(pair.a);
    assert.equal(withheld.status, 503, await withheld.text());
    await delay(HELD_UP_MILLISECONDS);
    way.open();
    const answer = await untilServed(() => poll(pair.b));
    assert.equal(answer.status, 200, await answer.text());
  });

  it('keeps no node away: a pushed request (FIELD-H3)', async () => {
    const client = await registerApplication(gatehouse);
    const { person } = await signIn(gatehouse, client);
    const pushed = await postForm(`${gatehouse.url}/par`, Object.fromEntries(authorizationRequest(client)), client);
    const { request_uri } = (await pushed.json()) as { request_uri: string };
    const ask = (): Promise<Response> =>
      person.fetch(`${gatehouse.url}/authorize?${new URLSearchParams({ client_id: client.client_id, request_uri })}`);
    way.muteAt('commit');
    const withheld = await ask();
    assert.equal(withheld.status, 503, await withheld.text());
    way.open();
    const answer = await untilServed(ask);
    assert.match(answer.headers.get('location') ?? '', /[?&]code=/);
    await requestToken(pair.a.url, await registerClient(gatehouse));
    assert.match(await (await fetch(`${pair.a.managementUrl}/readyz`)).text(), /"database":"ok"/);
  });

  it('is not taken back where the client has used it again since, within the grace (FIELD-H3)', async () => {
    const client = await registerApplication(gatehouse);
    const { refresh_token } = await aRefreshToken(gatehouse, client);
    const used = { kind: 'RefreshToken', id: sha256(refresh_token!) };
    const [first, again] = [timeOfUse(new Date()), timeOfUse(new Date(Date.now() + 1_000))];
    const graceBegan = new Date(Date.now() - 10_000);
    const use = (usedAt: TimeOfUse) =>
      transact(gatehouse.database, (tx) => useArtifact(tx, used, { usedAt, keptUntil: undefined, graceBegan }));
    assert.deepEqual([await use(first), await use(again)], [true, true]);
    assert.equal(await transact(gatehouse.database, (tx) => takeBackUse(tx, used, first)), false);
  });

  it('ends its family when it is used again after an answer was given', async () => {
    const client = await registerApplication(gatehouse);
    const form = await aRefreshToken(gatehouse, client);
    assert.equal((await send(pair.a, client, form, '')).status, 200);
    await eventually(async () => (await send(pair.b, client, form, '')).status === 400);
  });
});

type Form = Readonly<Record<string, string>>;

async function aCode(gatehouse: Gatehouse, client: RegisteredClient): Promise<Form> {
  const { code, verifier } = await requestCode(gatehouse, client, { scope: 'openid notes:read' });
  return { grant_type: 'authorization_code', redirect_uri: REDIRECT_URI, code, code_verifier: verifier };
}

async function aRefreshToken(gatehouse: Gatehouse, client: RegisteredClient): Promise<Form> {
  const { tokens } = await signIn(gatehouse, client, { scope: 'openid notes:read' });
  return { grant_type: 'refresh_token', refresh_token: tokens.refresh_token! };
}

/** As a client that obeys Retry-After: it retries for as long as the answers say so. */
async function untilServed(ask: () => Promise<Response>): Promise<Response> {
  const until = performance.now() + 20_000;
  for (;;) {
    const answer = await ask();
    if (answer.status !== 503 || performance.now() > until) return answer;
    assert.ok(Number(answer.headers.get('retry-after')) >= 1);
    await delay(100);
  }
}

async function isUsed({ database }: Gatehouse, form: Form): Promise<boolean> {
  const { consumed_at } = await database
    .selectFrom('artifacts')
    .select('consumed_at')
    .where('artifact_id', '=', sha256(form['code'] ?? form['refresh_token']!))
    .executeTakeFirstOrThrow();
  return consumed_at !== null;
}

async function eventsAbout({ database }: Gatehouse, { client_id }: RegisteredClient): Promise<string[]> {
  const rows = await database.selectFrom('audit_events').select('event').where('client_id', '=', client_id).execute();
  return rows.map(({ event }) => event);
}
