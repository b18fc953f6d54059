import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { systemClock } from '../../src/base/clock.ts';
import { removeUnusedClients } from '../../src/registration/unused_clients.ts';
import { moveClock, resetClock } from '../support/node/clock.ts';
import { signIn } from '../support/client/code_flow.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { auditEvents, makePolicy, makeToken, register } from '../support/client/registration.ts';
import { openTrail } from '../support/node/audit_trail.ts';

describe('clients that are not used', () => {
  let gatehouse: Gatehouse;
  before(async () => {
    gatehouse = await startGatehouse();
    await makePolicy(gatehouse, { name: 'brief', unused_client_ttl_seconds: 3_600, open_registration: true });
    await makePolicy(gatehouse, { name: 'lasting' });
  });
  afterEach(resetClock);
  after(() => gatehouse.stop());

  const clean = async (): Promise<number> => {
    const trail = await openTrail(gatehouse.database);
    return removeUnusedClients(gatehouse.database, trail, systemClock());
  };
  const isThere = async (clientId: string): Promise<boolean> =>
    (await gatehouse.adminCall('GET', `/clients/${clientId}`)).status === 200;

  it('go when their policy says so; those stay that are used, revoked, young, or under another policy', async () => {
    const lasting = (await makeToken(gatehouse, 'lasting')).initial_access_token;
    const unused = (await register(gatehouse)).body;
    const revoked = (await register(gatehouse)).body;
    const elsewhere = (await register(gatehouse, {}, lasting)).body;
    const used = (await register(gatehouse)).body;
    await signIn(gatehouse, { client_id: used.client_id, client_secret: used.client_secret! });
    await gatehouse.adminCall('POST', `/clients/${revoked.client_id}/revoke`, { reason: 'Phishing' });
    assert.equal(await clean(), 0);
    moveClock(3_700);
    const young = (await register(gatehouse)).body;
    assert.equal(await clean(), 1);
    assert.equal(await isThere(unused.client_id), false);
    for (const client of [revoked, elsewhere, used, young]) assert.equal(await isThere(client.client_id), true);
    const [event] = await auditEvents(gatehouse, 'client.removed_unused');
    assert.equal(event?.['client_id'], unused.client_id);
  });

  it('go once, however many nodes look', async () => {
    for (let i = 0; i < 5; i++) await register(gatehouse);
    moveClock(3_700);
    const removed = await Promise.all([clean(), clean(), clean()]);
    assert.equal(removed.reduce((sum, one) => sum + one) >= 5, true);
    const events = await auditEvents(gatehouse, 'client.removed_unused');
    const ids = events.map((event) => event['client_id']);
    assert.equal(new Set(ids).size, ids.length);
  });
});
