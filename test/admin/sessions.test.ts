import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Admin, type Body } from '../support/client/admin.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';

describe('what an account has open, in the admin API', () => {
  let gatehouse: Gatehouse;
  let admin: Admin;
  before(async () => {
    gatehouse = await startGatehouse();
    admin = await Admin.of(gatehouse);
  });
  after(() => gatehouse.stop());

  const now = Date.now();
  const owner = async (): Promise<Body> =>
    (await admin.get(`/accounts?q=${encodeURIComponent(gatehouse.account.email)}`)).body.items[0]!;
  const later = new Date(now + 3_600_000);
  /** As a login and a consent leave them. */
  const open = async (accountId: string, number: number): Promise<void> => {
    const created_at = new Date(now - number * 1_000);
    const artifact = { account_id: accountId, created_at, expires_at: later, consumed_at: null };
    const client_id = gatehouse.demo.client_id;
    const grant_id = Buffer.alloc(32, number) as never;
    await gatehouse.database
      .insertInto('grants')
      .values({
        grant_id,
        account_id: accountId,
        client_id,
        payload: '{"openid":{"scope":"openid"}}',
        created_at,
        expires_at: later,
      })
      .execute();
    await gatehouse.database
      .insertInto('artifacts')
      .values([
        {
          ...artifact,
          kind: 'Session',
          artifact_id: grant_id,
          grant_id: null,
          client_id: null,
          uid: `uid-${number}`,
          payload: `{"authorizations":{"${client_id}":{}}}`,
        },
        { ...artifact, kind: 'RefreshToken', artifact_id: grant_id, grant_id, client_id, uid: null, payload: '{}' },
      ])
      .execute();
  };
  const refreshTokens = async (): Promise<number> =>
    (await gatehouse.database.selectFrom('artifacts').select('kind').where('kind', '=', 'RefreshToken').execute())
      .length;

  it('is listed newest first, page by page', async () => {
    const { account_id } = await owner();
    for (const number of [1, 2, 3]) await open(account_id, number);
    for (const [list, id] of [
      ['sessions', 'session_id'],
      ['grants', 'grant_id'],
    ] as const) {
      const all = (await admin.get(`/accounts/${account_id}/${list}`)).body.items.map((item) => item[id]);
      assert.equal(all.length, 3);
      const first = await admin.get(`/accounts/${account_id}/${list}?limit=2`);
      const rest = await admin.get(`/accounts/${account_id}/${list}?limit=2&cursor=${first.body.next_cursor}`);
      assert.deepEqual(
        [...first.body.items, ...rest.body.items].map((item) => item[id]),
        all,
      );
    }
    const sessions = (await admin.get(`/accounts/${account_id}/sessions`)).body.items;
    assert.deepEqual(
      sessions.map((item) => item['session_id']),
      ['uid-1', 'uid-2', 'uid-3'],
    );
    assert.deepEqual(sessions[0]?.['clients'], [gatehouse.demo.client_id]);
  });

  it('ends one by one, under its own account only', async () => {
    const { account_id } = await owner();
    const { body: other } = await admin.post('/accounts', { email: 'someone.else@example.com' });
    assert.equal((await admin.delete(`/accounts/${other.account_id}/sessions/uid-1`)).status, 404);
    assert.equal((await admin.delete(`/accounts/${account_id}/sessions/uid-1`)).status, 204);
    assert.equal((await admin.delete(`/accounts/${account_id}/sessions/uid-1`)).status, 404);
    const [grant] = (await admin.get(`/accounts/${account_id}/grants`)).body.items;
    assert.equal(
      (await admin.delete(`/accounts/${other.account_id}/grants/${String(grant?.['grant_id'])}`)).status,
      404,
    );
    assert.equal(await refreshTokens(), 3);
    assert.equal((await admin.delete(`/accounts/${account_id}/grants/${String(grant?.['grant_id'])}`)).status, 204);
    assert.equal(await refreshTokens(), 2);
  });

  it('ends with the consent that it came from', async () => {
    const { account_id } = await owner();
    const client_id = gatehouse.demo.client_id;
    const scopes = JSON.stringify({
      openid: ['openid'],
      claims: [],
      resources: { [gatehouse.demo.resource]: ['notes:read', 'email', '"phone_number"'] },
    });
    await gatehouse.database
      .insertInto('consents')
      .values({ account_id, client_id, scopes, given_at: new Date() })
      .execute();
    const { body } = await admin.get(`/accounts/${account_id}/consents`);
    assert.deepEqual(body.items[0]?.['resources'], [
      { resource: gatehouse.demo.resource, scopes: ['notes:read', 'email'], claims: ['phone_number'] },
    ]);
    assert.equal((await admin.delete(`/accounts/${account_id}/consents/${client_id}`)).status, 204);
    assert.equal(await refreshTokens(), 0);
    assert.equal((await admin.delete(`/accounts/${account_id}/consents/${client_id}`)).status, 404);
  });

  it('ends all at once when the account is disabled', async () => {
    const { account_id } = await owner();
    await open(account_id, 4);
    await admin.post(`/accounts/${account_id}/disable`);
    assert.deepEqual((await admin.get(`/accounts/${account_id}/sessions`)).body.items, []);
    assert.deepEqual((await admin.get(`/accounts/${account_id}/grants`)).body.items, []);
    assert.equal(await refreshTokens(), 0);
  });
});
