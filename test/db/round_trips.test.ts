import assert from 'node:assert/strict';
import { after, before, describe, it, type TestContext } from 'node:test';
import { Way } from '../support/node/unreachable_database.ts';
import { cloneDatabase, type TestDatabase } from '../support/node/database.ts';
import { postForm, requestToken, startGatehouse, type OwnGatehouse } from '../support/node/gatehouse.ts';
import { registerClient, type RegisteredClient } from '../support/node/operator.ts';

/** Long enough that a busy machine sends all that belongs together before the first answer arrives. */
const LATE_MILLISECONDS = 60;
/** Without the change log, which a call reads once at its end. */
const AT_MOST = 4;

describe('the database', () => {
  let database: TestDatabase;
  let way: Way;
  let gatehouse: OwnGatehouse;
  let token = '';
  let client: RegisteredClient;
  before(async () => {
    database = await cloneDatabase();
    way = await Way.to(database);
    gatehouse = await startGatehouse({
      databaseUrl: way.url(database),
      withoutNotify: true,
    });
    token = await gatehouse.adminToken();
    client = await registerClient(gatehouse);
    // until the node knows the caller, the keys and the client, and has connections open
    await Promise.all([1, 2, 3, 4].map(() => call('GET', `/clients/${client.client_id}`)));
    await call('POST', '/clients', newClient(), { 'idempotency-key': 'first' });
    await requestToken(gatehouse.url, client);
  });
  after(async () => {
    await gatehouse?.stop();
    way.close();
    await database.drop();
  });

  const call = async (method: string, path: string, body?: object, headers = {}): Promise<unknown> => {
    const response = await fetch(`${gatehouse.adminUrl}/admin/v1${path}`, {
      method,
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json', ...headers },
      ...(body && { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    assert.ok(response.ok, text);
    return JSON.parse(text);
  };
  const newClient = () => ({
    client_name: 'Reports',
    grant_types: ['client_credentials'],
    resources: [{ resource: gatehouse.demo.resource, scopes: gatehouse.demo.scope.split(' ') }],
  });

  async function isBounded(test: TestContext, work: () => Promise<unknown>): Promise<void> {
    way.slowDown(LATE_MILLISECONDS);
    const counted = way.roundTrips;
    const began = performance.now();
    await work().finally(() => way.slowDown(0));
    const roundTrips = way.roundTrips - counted;
    test.diagnostic(`${roundTrips} round trips, ${Math.round(performance.now() - began)} ms`);
    assert.ok(roundTrips > 0 && roundTrips <= AT_MOST, `There were ${roundTrips}.`);
  }

  it('is waited for at most five times while a node registers a client (FIELD-H4)', (test) =>
    isBounded(test, () => call('POST', '/clients', newClient())));

  it('is waited for at most five times while a node registers a client with an Idempotency-Key (FIELD-H4)', (test) =>
    isBounded(test, () => call('POST', '/clients', newClient(), { 'idempotency-key': 'once' })));

  it('is waited for at most five times while a node gives a client another secret (FIELD-H4)', (test) =>
    isBounded(test, () => call('POST', `/clients/${client.client_id}/secrets`, { overlap_seconds: 3_600 })));

  it('is waited for at most five times while a node ends a JWT access token (FIELD-H4)', async (test) => {
    const ended = await requestToken(gatehouse.url, client);
    await isBounded(test, async () => {
      const answer = await postForm(`${gatehouse.url}/revoke`, { token: ended }, client);
      assert.equal(answer.status, 200, await answer.text());
    });
  });

  it('is waited for at most five times while a node changes a client (FIELD-H4)', (test) =>
    isBounded(test, () => call('PATCH', `/clients/${client.client_id}`, { client_name: 'Weekly reports' })));

  it('is waited for at most five times while a node revokes and restores a client (FIELD-H4)', async (test) => {
    await isBounded(test, () => call('POST', `/clients/${client.client_id}/revoke`, { reason: 'It leaked' }));
    await isBounded(test, () => call('POST', `/clients/${client.client_id}/restore`));
  });

  it('is waited for at most five times while a node deletes a client (FIELD-H4)', (test) =>
    isBounded(test, async () => {
      const response = await fetch(`${gatehouse.adminUrl}/admin/v1/clients/${client.client_id}`, {
        method: 'DELETE',
        headers: { authorization: `Bearer ${token}` },
      });
      assert.equal(response.status, 204, await response.text());
    }));

  it('is not asked for a probe of /readyz, which tells what the node saw last (FIELD-H7)', async () => {
    way.slowDown(LATE_MILLISECONDS);
    const counted = way.roundTrips;
    for (let probe = 0; probe < 5; probe++)
      assert.equal((await fetch(`${gatehouse.managementUrl}/readyz`)).status, 200);
    way.slowDown(0);
    assert.equal(way.roundTrips - counted, 0);
  });
});
