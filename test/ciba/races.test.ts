import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { exportJWK, generateKeyPair, SignJWT } from 'jose';
import { sql } from 'kysely';
import { ask, askRaw, decide, openPage, pageOf, poll, registerTill } from '../support/client/backchannel.ts';
import { fieldsOf } from '../support/person/device_flow.ts';
import { atOnce, startPair, type Pair } from '../support/node/pair.ts';
import { Person } from '../support/person/person.ts';

/** More than one node has connections to its database. */
const CROWD = 24;

describe('requests over the backchannel, asked, decided and polled for by many at once on two nodes', () => {
  let pair: Pair;
  before(async () => {
    pair = await startPair();
  });
  after(() => pair.stop());

  it('an approved auth_req_id gives tokens to one poll, and the others are told to slow down or that it was used', async () => {
    const till = await registerTill(pair.a);
    for (let round = 0; round < 3; round++) {
      const asked = await ask(pair.a, till, {}, pair.b);
      await decide(pair.a, asked, 'approve');
      const answers = await atOnce(CROWD, pair, (node) => poll(node, till, asked));
      assert.equal(answers.filter(({ status }) => status === 200).length, 1);
      const refused = answers.filter(({ error }) => error === 'slow_down' || error === 'invalid_grant');
      assert.equal(refused.length, CROWD - 1);
    }
  });

  it('an approved auth_req_id gives tokens once at most, even to polls that no interval holds back', async () => {
    const till = await registerTill(pair.a);
    const asked = await ask(pair.a, till);
    await decide(pair.a, asked, 'approve');
    const forgetPolls = sql`update backchannel_requests set polled_at = null`;
    const restless = setInterval(() => void forgetPolls.execute(pair.a.database).catch(() => {}), 1);
    const polls = atOnce(CROWD, pair, (node) => poll(node, till, asked));
    const answers = await polls.finally(() => clearInterval(restless));
    // one that comes after the tokens may end them before they are out
    assert.ok(answers.filter(({ status }) => status === 200).length <= 1);
    for (const { status, error } of answers) if (status !== 200) assert.match(error!, /^(slow_down|invalid_grant)$/);
  });

  it('a request over the backchannel is decided by one click, and the client learns of that decision alone', async () => {
    const till = await registerTill(pair.a);
    for (let round = 0; round < 3; round++) {
      const asked = await ask(pair.a, till);
      const page = pageOf(pair.a, asked);
      const person = new Person(pair.a);
      const fields = fieldsOf((await openPage(page, person)).page);
      const clicks = await atOnce(8, pair, (node, index) =>
        person.fetch(page.replace(pair.a.issuer, node.url), {
          method: 'POST',
          body: new URLSearchParams({ ...fields, decision: index % 4 < 2 ? 'approve' : 'deny' }),
        }),
      );
      // a click that waits too long for the others on a busy machine is answered with 503, and changes nothing
      const { 303: answered = 0, 503: late = 0 } = count(clicks);
      assert.deepEqual([answered + late, answered > 0], [8, true], JSON.stringify(count(clicks)));
      const approved = /You have approved/.test((await person.open(page)).page);
      const { status, error } = await poll(pair.b, till, asked);
      assert.deepEqual([status, error], approved ? [200, undefined] : [400, 'access_denied']);
      const { rows } = await sql<{ decisions: number; grants: number }>`select
        (select count(*) from audit_events where event ~ '^backchannel_authentication[.](approved|denied)$'
          and client_id = ${till.client_id}) as decisions,
        (select count(*) from grants where client_id = ${till.client_id}) as grants`.execute(pair.a.database);
      assert.equal(rows[0]!.decisions, round + 1);
      await sql`delete from grants where client_id = ${till.client_id}`.execute(pair.a.database);
      assert.equal(rows[0]!.grants, approved ? 1 : 0, 'no click that came too late leaves a grant');
    }
  });

  it('a signed request is asked once, and so few wait at once as were allowed', async () => {
    const { privateKey, publicKey } = await generateKeyPair('ES256');
    const till = await registerTill(pair.a, { jwks: { keys: [await exportJWK(publicKey)] } });
    const request = await new SignJWT({ scope: 'openid', login_hint: pair.a.account.email, jti: 'once' })
      .setProtectedHeader({ alg: 'ES256' })
      .setIssuer(till.client_id)
      .setAudience(pair.a.issuer)
      .setIssuedAt()
      .setNotBefore('0 s')
      .setExpirationTime('1 min')
      .sign(privateKey);
    const answers = await atOnce(CROWD, pair, (node) => askRaw(node, till, { request }));
    assert.deepEqual(count(answers), { 200: 1, 400: CROWD - 1 });
    const hinted = { scope: 'openid', login_hint: pair.a.account.email };
    const crowd = await atOnce(CROWD, pair, (node) => askRaw(node, till, hinted));
    assert.deepEqual(count(crowd), { 200: 19, 429: CROWD - 19 });
  });
});

function count(answers: readonly { readonly status: number }[]): Record<string, number> {
  const counted: Record<string, number> = {};
  for (const { status } of answers) counted[status] = (counted[status] ?? 0) + 1;
  return counted;
}
