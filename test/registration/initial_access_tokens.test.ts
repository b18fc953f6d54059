import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { moveClock, resetClock } from '../support/node/clock.ts';
import { everythingStored } from '../support/node/stored_values.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { auditEvents, makePolicy, makeToken, register, type Json } from '../support/client/registration.ts';

describe('an initial access token', () => {
  let gatehouse: Gatehouse;
  let beside: Gatehouse;
  before(async () => {
    gatehouse = await startGatehouse();
    beside = await startGatehouse({ beside: gatehouse });
    await makePolicy(gatehouse, { name: 'partners' });
  });
  afterEach(resetClock);
  after(async () => {
    await beside.stop();
    await gatehouse.stop();
  });

  const shown = async (tokenId: string): Promise<Json> =>
    (await (await gatehouse.adminCall('GET', `/initial-access-tokens/${tokenId}`)).json()) as Json;

  it('is shown once, looks like one, and is stored as a digest', async () => {
    const { initial_access_token: token, token_id } = await makeToken(gatehouse, 'partners', { note: 'Billing Inc.' });
    assert.match(token, /^gatehouse_initial_[0-9A-Za-z]{43}$/);
    assert.equal('initial_access_token' in (await shown(token_id)), false);
    const listed = await (await gatehouse.adminCall('GET', '/initial-access-tokens')).text();
    assert.equal(listed.includes(token), false);
    const { body } = await register(gatehouse, {}, token);
    const values = await everythingStored(gatehouse.database);
    for (const bearer of [token, body.registration_access_token, body.client_secret!]) {
      assert.deepEqual(
        values.filter(({ text }) => text.includes(bearer)).map(({ where }) => where),
        [],
      );
      assert.equal(gatehouse.log.join('\n').includes(bearer), false);
    }
  });

  it('lets one client register, however many come at once on however many nodes', async () => {
    const { initial_access_token: token, token_id } = await makeToken(gatehouse, 'partners');
    const nodes = [gatehouse, beside, gatehouse, beside, gatehouse, beside];
    const answers = await Promise.all(nodes.map((node) => register(node, {}, token)));
    assert.deepEqual(
      answers.map(({ status }) => status).toSorted((a, b) => a - b),
      [201, 401, 401, 401, 401, 401],
    );
    assert.equal((await shown(token_id))['uses_left'], 0);
    assert.equal((await register(gatehouse, {}, token)).status, 401);
  });

  it('lets as many register as it was made for', async () => {
    const { initial_access_token: token } = await makeToken(gatehouse, 'partners', { uses: 2 });
    const statuses = [];
    for (let i = 0; i < 3; i++) statuses.push((await register(gatehouse, {}, token)).status);
    assert.deepEqual(statuses, [201, 201, 401]);
  });

  it('runs out', async () => {
    const { initial_access_token: token } = await makeToken(gatehouse, 'partners', { expires_in_seconds: 60 });
    moveClock(61);
    const { status, body, headers } = await register(gatehouse, {}, token);
    assert.equal(status, 401);
    assert.equal(body.error, 'invalid_token');
    assert.equal(headers.get('www-authenticate'), `Bearer realm="${gatehouse.issuer}", error="invalid_token"`);
  });

  it('ends when an admin says so, and with its policy', async () => {
    const revoked = await makeToken(gatehouse, 'partners');
    const ended = await gatehouse.adminCall('DELETE', `/initial-access-tokens/${revoked.token_id}`);
    assert.equal(ended.status, 204);
    assert.equal((await register(gatehouse, {}, revoked.initial_access_token)).status, 401);
    const [event] = await auditEvents(gatehouse, 'initial_access_token.revoked');
    assert.deepEqual(event?.['details'], { token_id: revoked.token_id, policy: 'partners' });
    await makePolicy(gatehouse, { name: 'gone' });
    const { initial_access_token: orphan } = await makeToken(gatehouse, 'gone');
    assert.equal((await gatehouse.adminCall('DELETE', '/registration-policies/gone')).status, 204);
    assert.equal((await register(gatehouse, {}, orphan)).status, 401);
  });

  it('that is none is refused, also where registration is open', async () => {
    await makePolicy(gatehouse, { name: 'open', open_registration: true });
    assert.equal((await register(gatehouse)).status, 201);
    for (const token of [
      'nonsense',
      'gatehouse_initial_0000000000000000000000000000000000000000000',
      '(',
      'x'.repeat(5_000),
    ]) {
      assert.equal((await register(gatehouse, {}, token)).status, 401, token.slice(0, 50));
    }
  });

  it('is made by those who may register clients, for a policy that is there', async () => {
    const token = await gatehouse.adminToken('policies:write clients:read');
    const response = await fetch(`${gatehouse.url}/admin/v1/initial-access-tokens`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify({ policy: 'partners' }),
    });
    assert.equal(response.status, 403);
    await response.body?.cancel();
    assert.equal((await gatehouse.adminCall('POST', '/initial-access-tokens', { policy: 'none-such' })).status, 400);
  });
});

describe('registration from one address', () => {
  let gatehouse: Gatehouse;
  before(async () => {
    gatehouse = await startGatehouse();
    await makePolicy(gatehouse, { name: 'open', open_registration: true });
  });
  after(() => gatehouse.stop());

  it('is throttled long before the thousandth (DCR-21)', async () => {
    let good = 0;
    for (let attempt = 0; attempt < 1_000; attempt++) {
      const { status, headers, body } = await register(gatehouse);
      if (status === 201) {
        good += 1;
        continue;
      }
      assert.equal(status, 429);
      assert.equal(Number(headers.get('retry-after')) > 0, true);
      assert.equal(body.error, 'slow_down');
      break;
    }
    assert.equal(good, 100);
    const [event] = await auditEvents(gatehouse, 'registration.throttled');
    assert.equal(event?.['outcome'], 'refused');
  });
});

describe('the number of registrations that an address may send', () => {
  let gatehouse: Gatehouse;
  before(async () => {
    gatehouse = await startGatehouse({ environment: { GATEHOUSE_REGISTRATIONS_PER_ADDRESS: '3' } });
    await makePolicy(gatehouse, { name: 'open', open_registration: true });
    await makePolicy(gatehouse, { name: 'partners' });
  });
  after(() => gatehouse.stop());

  const statuses = async (times: number, metadata: Json, token?: string): Promise<number[]> => {
    const all = [];
    for (let i = 0; i < times; i++) all.push((await register(gatehouse, metadata, token)).status);
    return all;
  };

  it('is a setting, and with an initial access token it is the number of its uses (FIELD-C14b)', async () => {
    const { initial_access_token: token } = await makeToken(gatehouse, 'partners', { uses: 5 });
    assert.deepEqual(await statuses(5, {}, token), [201, 201, 201, 201, 201]);
    assert.deepEqual(await statuses(4, {}), [201, 201, 201, 429]);
    const { initial_access_token: another } = await makeToken(gatehouse, 'partners', { uses: 2 });
    assert.deepEqual(await statuses(2, {}, another), [201, 201], 'the address has used up its own number');
  });

  it('counts what is refused, with an initial access token or a wrong one (FIELD-C14b)', async () => {
    await gatehouse.stop();
    gatehouse = await startGatehouse({ environment: { GATEHOUSE_REGISTRATIONS_PER_ADDRESS: '3' } });
    await makePolicy(gatehouse, { name: 'partners' });
    const { initial_access_token: token } = await makeToken(gatehouse, 'partners', { uses: 5 });
    assert.deepEqual(await statuses(4, { redirect_uris: [] }, token), [400, 400, 400, 429]);
    assert.deepEqual(await statuses(1, {}, token), [201], 'and a right one is answered all the same');
    assert.deepEqual(await statuses(1, {}, 'none'), [429]);
  });
});
