import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Admin, type Body } from '../support/client/admin.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';

const NDJSON = { accept: 'application/x-ndjson' };

describe('the audit trail in the admin API', () => {
  let gatehouse: Gatehouse;
  let admin: Admin;
  let client: Body;
  let account: Body;
  let noon: string;
  before(async () => {
    gatehouse = await startGatehouse();
    admin = await Admin.of(gatehouse);
    client = (await admin.post('/clients', { client_name: 'Watched' })).body;
    await admin.patch(`/clients/${client.client_id}`, { client_name: 'Watched on' });
    noon = new Date().toISOString();
    await admin.post(`/clients/${client.client_id}/secrets`);
    await admin.post(`/clients/${client.client_id}/revoke`, { reason: 'Enough' });
    account = (await admin.post('/accounts', { email: 'watched@example.com' })).body;
    await admin.post(`/accounts/${account.account_id}/disable`);
  });
  after(() => gatehouse.stop());

  const eventsOf = async (query: string): Promise<unknown[]> =>
    (await admin.get(`/audit-events?limit=200&${query}`)).body.items.map((item) => item['event']);
  const ofClient = ['client.created', 'secret.created', 'client.updated', 'secret.created', 'client.revoked'];

  it('tells what happened to a client, newest first or oldest first', async () => {
    assert.deepEqual(await eventsOf(`client_id=${client.client_id}`), ofClient.toReversed());
    assert.deepEqual(await eventsOf(`client_id=${client.client_id}&order=asc`), ofClient);
  });

  it('is narrowed by account, event, outcome and time', async () => {
    assert.deepEqual(await eventsOf(`account_id=${account.account_id}`), ['account.disabled', 'account.created']);
    assert.deepEqual(await eventsOf(`client_id=${client.client_id}&event=client.updated`), ['client.updated']);
    assert.deepEqual(await eventsOf(`client_id=${client.client_id}&outcome=refused`), []);
    assert.deepEqual(await eventsOf(`client_id=${client.client_id}&order=asc&to=${noon}`), ofClient.slice(0, 3));
    assert.deepEqual(await eventsOf(`client_id=${client.client_id}&order=asc&from=${noon}`), ofClient.slice(3));
    assert.deepEqual(await eventsOf('from=2999-01-01T00:00:00%2B02:00'), []);
  });

  it('names who did it, from where, in which request', async () => {
    const answer = await admin.patch(`/clients/${gatehouse.demo.client_id}`, { client_name: 'Demo' });
    const { body } = await admin.get(
      `/audit-events?client_id=${gatehouse.demo.client_id}&event=client.updated&limit=1`,
    );
    const [event] = body.items;
    assert.deepEqual(event?.['actor'], { type: 'client', id: gatehouse.admin.client_id });
    assert.equal(event?.['address'], '127.0.0.1');
    assert.equal(event?.request_id, answer.headers.get('x-request-id'));
  });

  it('is paged without gap or repetition in either order', async () => {
    for (const order of ['asc', 'desc']) {
      const query = `client_id=${client.client_id}&order=${order}`;
      const whole = await eventsOf(query);
      const walked: unknown[] = [];
      let cursor = '';
      do {
        const { body } = await admin.get(`/audit-events?limit=2&${query}${cursor && `&cursor=${cursor}`}`);
        walked.push(...body.items.map((item) => item['event']));
        cursor = body.next_cursor ?? '';
      } while (cursor);
      assert.deepEqual(walked, whole);
    }
  });

  it('is exported as one event a line, all of the range, and the export is on record', async () => {
    const answer = await admin.get(`/audit-events?client_id=${client.client_id}&limit=1`, NDJSON);
    assert.equal(answer.status, 200);
    assert.equal(answer.headers.get('content-type'), 'application/x-ndjson');
    const lines = answer.text
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Body);
    assert.deepEqual(
      lines.map((line) => line['event']),
      ofClient,
    );

    const { body } = await admin.get('/audit-events?event=audit.exported&limit=1');
    const [exported] = body.items;
    assert.equal(exported?.request_id, answer.headers.get('x-request-id'));
    assert.equal((exported['details'] as Body).client_id, client.client_id);
  });

  it('is exported whole, however much there is', async () => {
    const stream = '00000000-0000-4000-8000-000000000000';
    const row = { stream, event: 'token.issued', outcome: 'success', actor_type: 'system', details: '{}' } as const;
    const absent = { actor_id: null, account_id: null, client_id: 'busy', address: null, request_id: null };
    // some at one and the same moment, across the borders of batches
    const rows = Array.from({ length: 1_234 }, (_, sequence) => ({
      ...row,
      ...absent,
      sequence,
      occurred_at: new Date(Math.floor(sequence / 300) * 1_000),
    }));
    await gatehouse.database.insertInto('audit_events').values(rows).execute();
    const { text } = await admin.get('/audit-events?client_id=busy', NDJSON);
    const sequences = text
      .trimEnd()
      .split('\n')
      .map((line) => (JSON.parse(line) as { sequence: number }).sequence);
    assert.deepEqual(
      sequences,
      rows.map(({ sequence }) => sequence),
    );
  });

  it('is not exported to an admin who may not read it', async () => {
    const lesser = await admin.lesser('clients:read');
    assert.equal((await lesser.get('/audit-events', NDJSON)).status, 403);
  });

  it('can’t be changed, not even by who has the database', async () => {
    await assert.rejects(gatehouse.database.deleteFrom('audit_events').execute(), /appended to, never changed/);
    for (const method of ['DELETE', 'PATCH', 'POST']) {
      assert.equal((await admin.send(method, '/audit-events', '{}')).status, 405);
    }
  });

  it('has an entry for every change of its own transaction, and none for a change that failed', async () => {
    const resources = [{ resource: gatehouse.demo.resource, scopes: ['notes:delete'] }];
    assert.equal(
      (await admin.patch(`/clients/${gatehouse.demo.client_id}`, { client_name: 'Never', resources })).status,
      400,
    );
    const { text } = await admin.get(`/audit-events?client_id=${gatehouse.demo.client_id}&event=client.updated`);
    assert.ok(!text.includes('notes:delete'));
  });
});
