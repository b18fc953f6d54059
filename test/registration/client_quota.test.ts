import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { systemClock } from '../../src/base/clock.ts';
import { removeUnusedClients } from '../../src/registration/unused_clients.ts';
import { moveClock, resetClock } from '../support/node/clock.ts';
import { signIn } from '../support/client/code_flow.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { auditEvents, changePolicy, makePolicy, makeToken, send, type Json } from '../support/client/registration.ts';
import { openTrail } from '../support/node/audit_trail.ts';

const REDIRECT = 'https://app.example.com/callback';

describe('the quota of clients that register without a token', () => {
  let gatehouse: Gatehouse;
  let beside: Gatehouse;
  before(async () => {
    const environment = { GATEHOUSE_TRUSTED_PROXIES: '127.0.0.1' };
    gatehouse = await startGatehouse({ environment });
    beside = await startGatehouse({ environment, beside: gatehouse });
    await makePolicy(gatehouse, { name: 'open', open_registration: true, clients_at_most: 20 });
  });
  afterEach(async () => {
    resetClock();
    const { database } = gatehouse;
    await database.deleteFrom('clients').where('client_id', 'in', registered(database)).execute();
    await database.deleteFrom('failed_attempts').execute();
  });
  after(async () => {
    await beside.stop();
    await gatehouse.stop();
  });

  const registered = (database: Gatehouse['database']) =>
    database.selectFrom('client_registrations').select('client_id');
  const register = async (from: string, node = gatehouse, token?: string): Promise<string> => {
    const metadata = { redirect_uris: [REDIRECT] };
    const answer = await send('POST', `${node.url}/register`, metadata, token, { 'x-forwarded-for': from });
    assert.equal(answer.status, 201, `from ${from}: ${JSON.stringify(answer.body)}`);
    return answer.body.client_id;
  };
  const registerMany = async (from: string, count: number): Promise<string[]> => {
    const clients: string[] = [];
    for (let i = 0; i < count; i++) clients.push(await register(from, i % 2 === 0 ? gatehouse : beside));
    return clients;
  };
  const kept = async (clients: readonly string[]): Promise<number> => {
    const rows = await gatehouse.database.selectFrom('clients').select('client_id').execute();
    return rows.filter(({ client_id }) => clients.includes(client_id)).length;
  };
  const clean = async (): Promise<number> =>
    removeUnusedClients(gatehouse.database, await openTrail(gatehouse.database), systemClock());

  it('gives one network a share: a flood takes the place of itself (FIELD-B4)', async () => {
    const honest = await register('198.51.100.1');
    const flood = await registerMany('203.0.113.7', 30);
    assert.equal(await kept(flood), 10);
    assert.equal(await kept(flood.slice(-10)), 10, 'the oldest went');
    assert.equal(await kept([honest]), 1);
    await register('198.51.100.2');
    const removed = (await auditEvents(gatehouse, 'client.removed_unused')).filter(
      (event) => detailOf(event, 'reason') === 'room_needed',
    );
    assert.equal(removed.length, 20);
    const { actor, ip, address } = removed[0] ?? {};
    assert.deepEqual([actor, ip ?? address], [{ type: 'system' }, '203.0.113.7']);
  });

  it('counts the networks that one IPv6 customer may hold together (FIELD-B4)', async () => {
    const neighbour = await register('2001:db8:7:ffff::1');
    const flood: string[] = [];
    for (let i = 0; i < 15; i++) flood.push(await register(`2001:db8:7:${i < 8 ? 1 : 2}::${i + 1}`));
    assert.equal(await kept(flood), 9);
    assert.equal(await kept([neighbour]), 1, 'the network with most of them makes room');
  });

  it('removes one of the largest network once it is full, and never takes one that an admin changed or invited (FIELD-B4)', async () => {
    const changed = await register('203.0.113.7');
    await gatehouse.adminCall('PATCH', `/clients/${changed}`, { client_name: 'Known here' });
    const secret = await register('203.0.113.7');
    await gatehouse.adminCall('POST', `/clients/${secret}/secrets`, {});
    const token = (await makeToken(gatehouse, 'open', { uses: 5 })).initial_access_token;
    const invited = await register('203.0.113.7', gatehouse, token);
    const lasting = [changed, secret, invited];

    const quiet = await register('198.51.100.1');
    await registerMany('203.0.113.8', 9);
    await registerMany('203.0.113.9', 7);
    assert.equal(await kept(lasting), 3);
    // 20 are there: the next one makes the largest network give one up
    const next = await registerMany('203.0.113.10', 2);
    assert.equal(await kept([...lasting, quiet, ...next]), 6);
    const later = await register('203.0.113.11', beside, token);
    assert.equal(await kept([...lasting, quiet, later]), 5, 'an invited client finds room, too');
    assert.equal((await registered(gatehouse.database).execute()).length, 20);
  });

  it('counts a client as used from the moment in which a person allows it something (FIELD-B4)', async () => {
    const answer = await send('POST', `${gatehouse.url}/register`, { redirect_uris: [REDIRECT] });
    const client = { client_id: answer.body.client_id, client_secret: answer.body.client_secret! };
    const from = async () =>
      await gatehouse.database
        .selectFrom('client_registrations')
        .select(['unused_network', 'unused_site'])
        .where('client_id', '=', client.client_id)
        .executeTakeFirstOrThrow();
    assert.deepEqual(await from(), { unused_network: '127.0.0.1', unused_site: '127.0.0.1' });
    await signIn(gatehouse, client);
    assert.deepEqual(await from(), { unused_network: null, unused_site: null });
    // and stays so after the grant is gone
    await gatehouse.database.deleteFrom('grants').execute();
    await gatehouse.database.deleteFrom('consents').execute();
    moveClock(90_000);
    await clean();
    assert.equal(await kept([client.client_id]), 1);
  });

  it('is reached by several nodes at once, and never passed (FIELD-B4)', async (t) => {
    t.after(() => changePolicy(gatehouse, 'open', { clients_at_most: 20 }));
    await changePolicy(gatehouse, 'open', { clients_at_most: 8 });
    for (let round = 0; round < 3; round++) {
      await Promise.all(
        Array.from({ length: 6 }, (_, i) => register(`198.51.100.${i}`, i % 2 === 0 ? gatehouse : beside)),
      );
    }
    assert.equal((await registered(gatehouse.database).execute()).length, 8);
  });

  it('recovers by itself: what was never used goes after a day, or what the policy says (FIELD-B4)', async () => {
    const flood = await registerMany('203.0.113.7', 10);
    moveClock(86_300);
    assert.equal(await clean(), 0);
    const young = await register('203.0.113.8');
    moveClock(200);
    assert.equal(await clean(), 10);
    assert.equal(await kept(flood), 0);
    assert.equal(await kept([young]), 1);
    const [event] = await auditEvents(gatehouse, 'client.removed_unused');
    assert.equal(detailOf(event, 'reason'), 'never_used');
    await changePolicy(gatehouse, 'open', { never_used_client_ttl_seconds: 3_600 });
    moveClock(3_700);
    assert.equal(await clean(), 1);
    await changePolicy(gatehouse, 'open', { never_used_client_ttl_seconds: null });
  });

  it('bounds what one network leaves in the trail in a day, but for clients with a token (FIELD-B4)', async () => {
    await register('192.0.2.50');
    await gatehouse.database
      .updateTable('failed_attempts')
      .set({ points: 2_000 })
      .where('key', 'like', 'registration_day:%')
      .execute();
    const metadata = { redirect_uris: [REDIRECT] };
    const refused = await send('POST', `${beside.url}/register`, metadata, undefined, {
      'x-forwarded-for': '192.0.2.50',
    });
    assert.deepEqual([refused.status, refused.body.error], [429, 'slow_down']);
    assert.ok(Number(refused.headers.get('retry-after')) > 80_000);
    await register('192.0.2.51');
    await register('192.0.2.50', beside, (await makeToken(gatehouse, 'open')).initial_access_token);
  });

  it('keeps a client that is being used while another is removed (FIELD-B4)', async () => {
    const [oldest, ...others] = await registerMany('203.0.113.7', 10);
    await gatehouse.database.transaction().execute(async (tx) => {
      // as the store of a grant does, until its transaction ends
      await tx.selectFrom('clients').select('client_id').where('client_id', '=', oldest!).forShare().execute();
      await register('203.0.113.7');
    });
    assert.equal(await kept([oldest!]), 1);
    assert.equal(await kept(others), 8);
  });
});

function detailOf(event: Json | undefined, name: string): unknown {
  return (event?.['details'] as Json | undefined)?.[name];
}
