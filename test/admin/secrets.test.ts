import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Admin, type Body } from '../support/client/admin.ts';
import { postForm, requestToken, startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';

describe('secrets and revocation in the admin API', () => {
  let gatehouse: Gatehouse;
  let admin: Admin;
  let client: Body;
  before(async () => {
    gatehouse = await startGatehouse();
    admin = await Admin.of(gatehouse);
  });
  after(() => gatehouse.stop());

  const register = async (): Promise<Body> => {
    const resources = [{ resource: gatehouse.demo.resource, scopes: gatehouse.demo.scope.split(' ') }];
    return (await admin.post('/clients', { resources })).body;
  };
  const tokenStatus = async (client_secret: string): Promise<number> =>
    (
      await postForm(
        `${gatehouse.url}/token`,
        { grant_type: 'client_credentials' },
        { client_id: client.client_id, client_secret },
      )
    ).status;

  it('rotate without an outage: the old secret stays valid for the overlap', async () => {
    client = await register();
    const { status, body } = await admin.post(`/clients/${client.client_id}/secrets`, { overlap_seconds: 3_600 });
    assert.equal(status, 201);
    const previous = body['previous'] as readonly { secret_id: string; expires_at: string }[];
    assert.equal(previous[0]?.secret_id, client.secret_id);
    assert.ok(Math.abs(Date.parse(previous[0].expires_at) - Date.now() - 3_600_000) < 60_000);
    assert.equal(await tokenStatus(client.client_secret), 200);
    assert.equal(await tokenStatus(body.client_secret), 200);
  });

  it('end the old ones at once with an overlap of 0', async () => {
    client = await register();
    const { body } = await admin.post(`/clients/${client.client_id}/secrets`, { overlap_seconds: 0 });
    assert.equal(await tokenStatus(client.client_secret), 401);
    assert.equal(await tokenStatus(body.client_secret), 200);
  });

  it('are in force on this node when the call is answered, again and again', async () => {
    client = await register();
    let secret = client.client_secret;
    for (let rotation = 0; rotation < 20; rotation++) {
      assert.equal(await tokenStatus(secret), 200);
      const { body } = await admin.post(`/clients/${client.client_id}/secrets`, { overlap_seconds: 0 });
      assert.deepEqual([await tokenStatus(secret), await tokenStatus(body.client_secret)], [401, 200]);
      secret = body.client_secret;
    }
  });

  it('may be rotated without a body, with an overlap of a day', async () => {
    client = await register();
    const { status, body } = await admin.post(`/clients/${client.client_id}/secrets`);
    assert.equal(status, 201);
    const [previous] = body['previous'] as readonly { expires_at: string }[];
    assert.ok(Math.abs(Date.parse(previous?.expires_at ?? '') - Date.now() - 86_400_000) < 60_000);
  });

  it('refuse overlaps and lifetimes out of bounds', async () => {
    client = await register();
    const cases = [
      { overlap_seconds: -1 },
      { overlap_seconds: 2_592_001 },
      { overlap_seconds: '60' },
      { expires_in_seconds: 59 },
      { expires_in_seconds: 157_680_001 },
    ];
    for (const given of cases) {
      const { status, body } = await admin.post(`/clients/${client.client_id}/secrets`, given);
      assert.equal(status, 400, JSON.stringify(given));
      assert.equal(body.errors[0]?.pointer, `/${Object.keys(given)[0]}`);
    }
  });

  it('are listed with hint and state, never with a value', async () => {
    client = await register();
    const path = `/clients/${client.client_id}/secrets`;
    const { body: second } = await admin.post(path, { overlap_seconds: 0, expires_in_seconds: 3_600 });
    const { body: third } = await admin.post(path, { client_secret: 'the third one is chosen by an operator' });
    await admin.delete(`${path}/${third.secret_id}`);
    const { body, text } = await admin.get(path);
    assert.deepEqual(
      body.items.map((item) => [item.secret_id, item['state']]),
      [
        [client.secret_id, 'expired'],
        [second.secret_id, 'live'],
        [third.secret_id, 'ended'],
      ],
    );
    assert.equal(body.items[1]?.['hint'], `${second.client_secret.slice(0, 21)}…`);
    assert.ok(!text.includes(second.client_secret) && !text.includes('third one'));
  });

  it('are paged in the order in which they were made', async () => {
    client = await register();
    const path = `/clients/${client.client_id}/secrets`;
    const { body: second } = await admin.post(path);
    const { body: first } = await admin.get(`${path}?limit=1`);
    assert.deepEqual(
      first.items.map((item) => item.secret_id),
      [client.secret_id],
    );
    const { body: rest } = await admin.get(`${path}?limit=1&cursor=${first.next_cursor}`);
    assert.deepEqual(
      rest.items.map((item) => item.secret_id),
      [second.secret_id],
    );
    assert.equal(rest.next_cursor, undefined);
  });

  it('end at once, each only under its own client', async () => {
    client = await register();
    const other = await register();
    const foreign = await admin.delete(`/clients/${other.client_id}/secrets/${client.secret_id}`);
    assert.equal(foreign.status, 404);
    assert.equal(await tokenStatus(client.client_secret), 200);
    assert.equal((await admin.delete(`/clients/${client.client_id}/secrets/${client.secret_id}`)).status, 204);
    assert.equal(await tokenStatus(client.client_secret), 401);
  });

  it('leave an admin its own last one, and let it end the one before', async () => {
    const { clientId, secret } = await admin.lesser('secrets:rotate', 'secrets:read');
    const self = new Admin(
      gatehouse,
      await requestToken(gatehouse.url, { client_id: clientId, client_secret: secret }),
    );
    const path = `/clients/${clientId}/secrets`;
    const only = (await self.get(path)).body.items[0]?.secret_id;
    assert.equal((await self.delete(`${path}/${only}`)).status, 409);
    assert.equal((await self.post(path)).status, 201);
    assert.equal((await self.delete(`${path}/${only}`)).status, 204);
  });

  it('revocation ends the client’s tokens and refuses new ones until it is restored', async () => {
    client = await register();
    const token = await requestToken(gatehouse.url, client);
    const introspect = async (): Promise<unknown> => {
      const answer = await postForm(`${gatehouse.url}/introspect`, { token }, client);
      return ((await answer.json()) as { active?: boolean }).active;
    };
    assert.equal(await introspect(), true);

    const path = `/clients/${client.client_id}`;
    assert.equal((await admin.post(`${path}/revoke`)).body.errors[0]?.pointer, '/reason');
    const revoked = await admin.post(`${path}/revoke`, { reason: 'Found in a public repository' });
    assert.equal(revoked.status, 200);
    assert.deepEqual([revoked.body['revoked'], revoked.body['revoked_reason']], [true, 'Found in a public repository']);
    assert.equal((await admin.post(`${path}/revoke`, { reason: 'Again' })).status, 409);
    assert.equal(await tokenStatus(client.client_secret), 401);

    const restored = await admin.post(`${path}/restore`);
    assert.deepEqual([restored.status, restored.body['revoked'], restored.body['revoked_at']], [200, false, null]);
    assert.equal(await tokenStatus(client.client_secret), 200);
    assert.equal(await introspect(), false, 'The token from before is dead for good.');
    assert.equal((await admin.post(`${path}/restore`)).status, 409);
  });

  it('revocation is known to a second node within a second', async () => {
    const second = await startGatehouse({ beside: gatehouse });
    try {
      client = (
        await admin.post('/clients', {
          resources: [{ resource: gatehouse.demo.resource, scopes: ['notes:read'] }],
        })
      ).body;
      const form = { grant_type: 'client_credentials' };
      assert.equal((await postForm(`${second.url}/token`, form, client)).status, 200);
      await admin.post(`/clients/${client.client_id}/revoke`, { reason: 'Test' });
      assert.equal(
        (await postForm(`${gatehouse.url}/token`, form, client)).status,
        401,
        'At once on the node that was asked.',
      );
      const until = Date.now() + 10_000;
      let status = 200;
      while (status === 200 && Date.now() < until)
        status = (await postForm(`${second.url}/token`, form, client)).status;
      assert.equal(status, 401);
    } finally {
      await second.stop();
    }
  });
});
