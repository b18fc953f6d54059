import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { ask, askRaw, decide, poll, registerTill } from '../support/client/backchannel.ts';
import { moveClock, resetClock } from '../support/node/clock.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import type { RegisteredClient } from '../support/node/operator.ts';

describe('whom a request over the backchannel (CIBA) is for, and how often they are asked', () => {
  let gatehouse: Gatehouse;
  let till: RegisteredClient;
  before(async () => {
    gatehouse = await startGatehouse();
    till = await registerTill(gatehouse);
  });
  after(() => gatehouse.stop());
  afterEach(resetClock);

  it('takes one hint: not two, none, or one that it does not know (CIBA-02)', async () => {
    const asked = await ask(gatehouse, till);
    await decide(gatehouse, asked, 'approve');
    const { id_token } = await poll(gatehouse, till, asked);
    const login_hint = gatehouse.account.email;
    const refusals: readonly Readonly<Record<string, string>>[] = [
      { login_hint, id_token_hint: id_token! },
      { login_hint, login_hint_token: 'a' },
      {},
      { login_hint: '' },
      { login_hint_token: 'e30.e30.' },
      { id_token_hint: 'not a token' },
    ];
    for (const hints of refusals) {
      const { status, body } = await askRaw(gatehouse, till, { scope: 'openid', ...hints });
      assert.deepEqual([status, body.error], [400, 'invalid_request'], JSON.stringify(Object.keys(hints)));
    }
    assert.equal((await askRaw(gatehouse, till, { scope: 'openid', id_token_hint: id_token! })).status, 200);
    const another = await registerTill(gatehouse);
    const stolen = await askRaw(gatehouse, another, { scope: 'openid', id_token_hint: id_token! });
    assert.deepEqual([stolen.status, stolen.body.error], [400, 'invalid_request'], 'an ID token for another client');
  });

  it('finds people by e-mail address, however it is written, and by the id of their account', async () => {
    const row = await gatehouse.database.selectFrom('accounts').select('account_id').executeTakeFirstOrThrow();
    for (const login_hint of [gatehouse.account.email.toUpperCase(), ` ${gatehouse.account.email} `, row.account_id]) {
      assert.equal((await askRaw(gatehouse, till, { scope: 'openid', login_hint })).status, 200, login_hint);
    }
  });

  it('finds no person by any other hint, and none who was disabled, and breaks on no hint', async () => {
    const created = await gatehouse.adminCall('POST', '/accounts', { email: 'gone@example.com' });
    const { account_id } = (await created.json()) as { account_id: string };
    await gatehouse.adminCall('POST', `/accounts/${account_id}/disable`);
    const hints = [
      'nobody@example.com',
      'gone@example.com',
      account_id,
      'demo',
      '\0@\0',
      `${'a'.repeat(3_000)}@b.c`,
      "' or 1=1 --",
    ];
    for (const login_hint of hints) {
      const { status, body } = await askRaw(gatehouse, till, { scope: 'openid', login_hint });
      assert.deepEqual([status, body.error], [400, 'unknown_user_id'], JSON.stringify(login_hint));
      assert.equal(JSON.stringify(body).includes(login_hint), false);
    }
  });

  it('lets no client find out who has an account: after 60 hints without an account it waits, right hints or not', async () => {
    const [curious, honest] = [await registerTill(gatehouse), await registerTill(gatehouse)];
    const hintAt = (client: RegisteredClient, login_hint: string) =>
      askRaw(gatehouse, client, { scope: 'openid', login_hint });
    for (let i = 0; i < 5; i++) assert.equal((await hintAt(curious, gatehouse.account.email)).status, 200);
    for (let i = 0; i < 60; i++) assert.equal((await hintAt(curious, `guess-${i}@example.com`)).status, 400);
    const stopped = await hintAt(curious, gatehouse.account.email);
    assert.deepEqual([stopped.status, stopped.body.error], [429, 'access_denied']);
    assert.match(stopped.headers.get('retry-after')!, /^[1-9]\d{0,2}$/);
    assert.equal((await hintAt(honest, gatehouse.account.email)).status, 200);
    moveClock(601);
    assert.equal((await hintAt(curious, gatehouse.account.email)).status, 200);
  });

  it('lets 20 requests of one client wait for one person, and 100 be made within ten minutes', async () => {
    const pushy = await registerTill(gatehouse);
    await gatehouse.adminCall('POST', '/accounts', { email: 'pestered@example.com' });
    const form = { scope: 'openid', login_hint: 'pestered@example.com' };
    /** Repeats what a busy machine answers with 503: that has changed nothing. */
    const again = async (requested_expiry: string): ReturnType<typeof askRaw> => {
      const answer = await askRaw(gatehouse, pushy, { ...form, requested_expiry });
      return answer.status === 503 ? again(requested_expiry) : answer;
    };
    const crowd = await Promise.all(Array.from({ length: 30 }, () => again('10')));
    assert.equal(crowd.filter(({ status }) => status === 200).length, 20);
    const refused = crowd.find(({ status }) => status !== 200)!;
    assert.deepEqual(
      [refused.status, refused.body.error, refused.headers.get('retry-after')],
      [429, 'access_denied', '60'],
    );
    for (let i = 0; i < 4; i++) {
      moveClock(11);
      const more = await Promise.all(Array.from({ length: 20 }, () => again('10')));
      assert.deepEqual(new Set(more.map(({ status }) => status)), new Set([200]));
    }
    moveClock(11);
    assert.equal((await again('10')).status, 429, 'the 101st within ten minutes');
    assert.equal(
      (await askRaw(gatehouse, pushy, { scope: 'openid', login_hint: gatehouse.account.email })).status,
      200,
      'another person may be asked',
    );
    moveClock(601);
    assert.equal((await again('10')).status, 200);
  });
});
