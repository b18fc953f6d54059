import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Admin } from '../support/client/admin.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';

describe('an account in the admin API', () => {
  let gatehouse: Gatehouse;
  let admin: Admin;
  before(async () => {
    gatehouse = await startGatehouse();
    admin = await Admin.of(gatehouse);
  });
  after(() => gatehouse.stop());

  const password = 'correct horse battery staple';
  const storedHash = async (accountId: string): Promise<string | null> =>
    (
      await gatehouse.database
        .selectFrom('accounts')
        .select('password_hash')
        .where('account_id', '=', accountId)
        .executeTakeFirstOrThrow()
    ).password_hash;

  it('is created under its lower-cased address, and the answer does not contain its password', async () => {
    const { status, body } = await admin.post('/accounts', { email: ' Ada@Example.COM ', name: 'Ada', password });
    assert.equal(status, 201);
    assert.match(body.account_id, /^account_[0-9A-Za-z]{22}$/);
    assert.deepEqual([body['email'], body['email_verified'], body['has_password']], ['ada@example.com', false, true]);
    assert.match((await storedHash(body.account_id)) ?? '', /^\$argon2id\$/);
    assert.equal((await admin.post('/accounts', { email: 'ADA@example.com' })).status, 409);
    const texts = [
      (await admin.get(`/accounts/${body.account_id}`)).text,
      (await admin.get('/accounts')).text,
      (await admin.patch(`/accounts/${body.account_id}`, { password: `${password}!` })).text,
      (await admin.get('/audit-events?limit=200')).text,
    ];
    for (const text of texts) assert.ok(!/argon2id|password_hash|battery/.test(text), text);
  });

  it('is made once by two calls at the same moment', async () => {
    const attempts = Array.from({ length: 4 }, () => admin.post('/accounts', { email: 'race@example.com' }));
    const statuses = (await Promise.all(attempts)).map(({ status }) => status);
    assert.deepEqual(statuses.toSorted(ascending), [201, 409, 409, 409]);
  });

  it('never takes an address that is another one’s, not even in a race', async () => {
    const made = await Promise.all(
      ['p', 'q', 'r'].map((name) => admin.post('/accounts', { email: `${name}@example.com` })),
    );
    const moves = made.map(({ body }) => admin.patch(`/accounts/${body.account_id}`, { email: 'wanted@example.com' }));
    const statuses = (await Promise.all(moves)).map(({ status }) => status);
    assert.deepEqual(statuses.toSorted(ascending), [200, 409, 409]);
  });

  it('keeps what a patch does not name, and a new address counts as unverified', async () => {
    const { body } = await admin.post('/accounts', {
      email: 'kept@example.com',
      email_verified: true,
      name: 'Kept',
      password,
    });
    const path = `/accounts/${body.account_id}`;
    const hash = await storedHash(body.account_id);
    const moved = (await admin.patch(path, { email: 'moved@example.com' })).body;
    assert.deepEqual([moved['name'], moved['email_verified'], moved['has_password']], ['Kept', false, true]);
    assert.equal(await storedHash(body.account_id), hash);
    assert.equal((await admin.patch(path, { name: null })).body['name'], null);
    assert.equal(
      (await admin.patch(path, { email: 'again@example.com', email_verified: true })).body['email_verified'],
      true,
    );
  });

  it('can’t be given what only the server decides', async () => {
    for (const member of ['account_id', 'password_hash', 'disabled_at', 'disabled', 'version', 'role', 'is_admin']) {
      const { status, body } = await admin.post('/accounts', { email: 'mass@example.com', [member]: 'x' });
      assert.deepEqual([status, body.errors[0]?.pointer], [400, `/${member}`]);
    }
  });

  it('refuses weak passwords and addresses that are none', async () => {
    assert.equal(
      (await admin.post('/accounts', { email: 'a@example.com', password: 'short' })).body.errors[0]?.pointer,
      '/password',
    );
    assert.equal((await admin.post('/accounts', { email: 'nobody' })).body.errors[0]?.pointer, '/email');
    assert.equal((await admin.post('/accounts', {})).body.errors[0]?.pointer, '/email');
  });

  it('is disabled, enabled and deleted', async () => {
    const { body } = await admin.post('/accounts', { email: 'short-lived@example.com' });
    const path = `/accounts/${body.account_id}`;
    assert.equal((await admin.post(`${path}/disable`)).body['disabled'], true);
    assert.equal((await admin.post(`${path}/disable`)).status, 409);
    assert.equal((await admin.post(`${path}/enable`)).body['disabled_at'], null);
    assert.equal((await admin.delete(path)).status, 204);
    assert.equal((await admin.get(path)).status, 404);
    assert.equal((await admin.get(`${path}/sessions`)).status, 404);
  });
});

function ascending(a: number, b: number): number {
  return a - b;
}
