import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import { decodeJwt } from 'jose';
import { sql } from 'kysely';
import { authorizationRequest } from '../support/client/authorization_request.ts';
import { redeem, registerApplication, requestCode, signIn } from '../support/client/code_flow.ts';
import { postForm, requestToken, type Gatehouse } from '../support/node/gatehouse.ts';
import { eventually, type RegisteredClient } from '../support/node/operator.ts';
import { atOnce, startPair, type Pair } from '../support/node/pair.ts';
import { Person } from '../support/person/person.ts';
import {
  askForToken,
  assertDead,
  count,
  CROWD,
  forNotes,
  isActive,
  refresh,
  winnersOf,
  type Tokens,
} from '../support/client/races.ts';

describe('work at the same time on two nodes', () => {
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
    const { location, verifier } = requestIn(pair, application);
    const answers = await atOnce(CROWD, pair, (node) => person.fetch(`${node.url}${location}`));
    const codes = answers.map((answer) => new URL(answer.headers.get('location') ?? '').searchParams.get('code') ?? '');
    assert.deepEqual(count(answers), { 303: CROWD });
    const redeemed = await atOnce(CROWD, pair, (node, index) =>
      redeem(node.url, application, { code: codes[index]!, verifier }),
    );
    assert.deepEqual(count(redeemed), { 200: CROWD });
    // the cookie of the answer that came last belongs to a living session
    const later = await person.fetch(`${pair.b.url}${location}`);
    assert.match(later.headers.get('location') ?? '', /[?&]code=/);
  });

  it('guesses of a password are counted before they are looked at, by both nodes together', async (t) => {
    const email = 'victim@example.com';
    const person = new Person(pair.a);
    const { location } = requestIn(pair, application);
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
    assert.equal(counted[401], 5);
    // a busy machine looks at some of them too late
    assert.equal((counted[429] ?? 0) + (counted[503] ?? 0), 45);
    const events = pair.a.database.selectFrom('audit_events').select((of) => of.fn.countAll<number>().as('count'));
    const failed = await events.where('event', '=', 'login.failed').executeTakeFirstOrThrow();
    assert.equal(failed.count, 5);
  });

  for (const listening of [true, false]) {
    it(`a client revoked on one node is refused by the other within a second, ${listening ? 'told by NOTIFY' : 'though nothing tells it'}`, async (t) => {
      const took: number[] = [];
      for (let round = 0; round < 3; round++) took.push(await revokeAndWatch(pair, listening));
      t.diagnostic(`refused after ${took.map((ms) => Math.round(ms)).join(', ')} ms`);
      // the middle one: this machine may be busy with something else for a moment
      assert.ok(took.toSorted((one, other) => one - other)[1]! <= 1_000);
    });
  }
});

/** Milliseconds from the answer of the revocation on one node until the other one refuses all that the client has. */
async function revokeAndWatch(pair: Pair, listening: boolean, again = 3): Promise<number> {
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
  const heard = await listeners(b);
  // this took so long that it listens again, which says nothing about a node that doesn't
  if (!listening && heard > 0 && again > 0) return revokeAndWatch(pair, listening, again - 1);
  assert.equal(heard, listening ? 2 : 0);
  // the grant's row is gone: no node needs a change event for that
  assert.equal(await isActive(b, b.demo, tokens.access_token), false);
  await eventually(async () => !(await isActive(b, b.demo, own)));
  await eventually(async () => (await askForToken(b.url, client)).status === 401);
  await eventually(async () => (await refresh(b, client, tokens.refresh_token)).status === 401);
  return performance.now() - began;
}

/**
 * Cuts the connections that wait for NOTIFY; a node opens its next one only after a second. This happens when the node
 * has just looked for changes, so that it takes the longest until it does again.
 */
async function silence(node: Gatehouse): Promise<void> {
  await eventually(async () => (await listeners(node)) === 2);
  await eventually(async () => (await changeLogAgeSeconds(node)) < 0.1);
  await eventually(async () => {
    await sql`select pg_terminate_backend(pid) from pg_stat_activity where ${LISTENS}`.execute(node.database);
    return (await listeners(node)) === 0;
  });
}

const LISTENS = sql`datname = current_database() and application_name = 'gatehouse listener' and query ~ '^(listen|notify) '`;

async function listeners({ database }: Gatehouse): Promise<number> {
  return (await sql`select 1 from pg_stat_activity where ${LISTENS}`.execute(database)).rows.length;
}

async function changeLogAgeSeconds({ managementUrl }: Gatehouse): Promise<number> {
  const metrics = await (await fetch(`${managementUrl}/metrics`)).text();
  return Number(/^gatehouse_change_log_age_seconds (\S+)$/m.exec(metrics)?.[1]);
}

function requestIn({ a }: Pair, application: RegisteredClient) {
  const verifier = 'a-verifier-that-is-long-enough-to-be-one-0123456789';
  const parameters = authorizationRequest(application, {
    resource: a.demo.resource,
    scope: 'openid notes:read',
    code_challenge: createHash('sha256').update(verifier).digest('base64url'),
  });
  return { location: `/authorize?${parameters}`, verifier };
}
