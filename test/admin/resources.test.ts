import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Admin } from '../support/client/admin.ts';
import { requestToken, startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';

describe('a resource in the admin API', () => {
  let gatehouse: Gatehouse;
  let admin: Admin;
  before(async () => {
    gatehouse = await startGatehouse();
    admin = await Admin.of(gatehouse);
  });
  after(() => gatehouse.stop());

  const scopes = [
    { name: 'orders:read', description: 'Read orders' },
    { name: 'orders:write', description: 'Write orders' },
  ];
  const pathOf = (identifier: string): string => `/resources/${encodeURIComponent(identifier)}`;

  it('is registered, and tokens for it can be had at once', async () => {
    const identifier = 'https://orders.example.com/v1?tenant=a';
    const created = await admin.post('/resources', { identifier, scopes });
    assert.equal(created.status, 201);
    assert.equal(created.headers.get('location'), `${gatehouse.issuer}/admin/v1${pathOf(identifier)}`);
    assert.deepEqual([created.body['access_token_ttl_seconds'], created.body['signing_alg']], [600, 'ES256']);
    assert.deepEqual((await admin.get(pathOf(identifier))).body, created.body);
    assert.equal((await admin.post('/resources', { identifier, scopes })).status, 409);
    const { body: client } = await admin.post('/clients', {
      resources: [{ resource: identifier, scopes: ['orders:read'] }],
    });
    assert.ok(await requestToken(gatehouse.url, client));
  });

  it('says whether its tokens may be for userinfo too, and the change is on record (FIELD-C1)', async () => {
    const identifier = 'https://quiet.example.com';
    const { body } = await admin.post('/resources', { identifier, scopes });
    assert.equal(body['userinfo_audience'], true);
    const changed = await admin.patch(pathOf(identifier), { userinfo_audience: false });
    assert.deepEqual([changed.status, changed.body['userinfo_audience']], [200, false]);
    assert.equal((await admin.patch(pathOf(identifier), { userinfo_audience: 'no' })).status, 400);
    const events = (await admin.get('/audit-events?event=resource.updated&limit=1')).body.items;
    const { before: was, after: is } = events[0]!['details'] as Record<string, unknown>;
    assert.deepEqual([was, is], [{ userinfo_audience: true }, { userinfo_audience: false }]);
  });

  it('has a name and more words for people, which are checked, changed and on record', async () => {
    const identifier = 'https://named.example.com';
    const worded = [{ ...scopes[0]!, details: 'Items and prices', access: 'read' }, scopes[1]!];
    const { body, status } = await admin.post('/resources', { identifier, display_name: ' Orders ', scopes: worded });
    assert.deepEqual([status, body['display_name'], body['scopes']], [201, 'Orders', worded]);
    const renamed = await admin.patch(pathOf(identifier), { display_name: null });
    assert.deepEqual([renamed.status, renamed.body['display_name'], renamed.body['scopes']], [200, null, worded]);
    const [event] = (await admin.get('/audit-events?event=resource.updated&limit=1')).body.items;
    const { before: was, after: is } = event!['details'] as Record<string, unknown>;
    assert.deepEqual([was, is], [{ display_name: 'Orders' }, {}]);
    for (const wrong of [
      { display_name: '' },
      { display_name: 'x'.repeat(101) },
      { display_name: 'Or\u202Eders' },
      { display_name: 7 },
      { scopes: [{ ...scopes[0]!, access: 'admin' }] },
      { scopes: [{ ...scopes[0]!, details: '' }] },
      { scopes: [{ ...scopes[0]!, details: 'x'.repeat(201) }] },
      { scopes: [{ ...scopes[0]!, color: 'red' }] },
    ]) {
      assert.equal((await admin.patch(pathOf(identifier), wrong)).status, 400, JSON.stringify(wrong));
    }
  });

  it('that loses a scope takes it from every client, and one made anew is not theirs', async () => {
    const identifier = 'https://shrinking.example.com';
    await admin.post('/resources', { identifier, scopes });
    const access = [{ resource: identifier, scopes: ['orders:read', 'orders:write'] }];
    const { body: client } = await admin.post('/clients', { resources: access });
    assert.equal((await admin.patch(pathOf(identifier), { scopes: scopes.slice(0, 1) })).status, 200);
    assert.equal((await admin.patch(pathOf(identifier), { scopes })).status, 200);
    const { body } = await admin.get(`/clients/${client.client_id}`);
    assert.deepEqual(body['resources'], [{ resource: identifier, scopes: ['orders:read'] }]);
  });

  it('is deleted only when no client may ask for it', async () => {
    const identifier = 'urn:example:short-lived';
    await admin.post('/resources', { identifier, scopes });
    const { body: client } = await admin.post('/clients', {
      resources: [{ resource: identifier, scopes: ['orders:read'] }],
    });
    assert.equal((await admin.delete(pathOf(identifier))).status, 409);
    await admin.patch(`/clients/${client.client_id}`, { resources: [] });
    assert.equal((await admin.delete(pathOf(identifier))).status, 204);
    assert.equal((await admin.get(pathOf(identifier))).status, 404);
  });

  const refused: readonly [what: string, body: object, pointer: string][] = [
    ['without scopes', { identifier: 'https://a.example', scopes: [] }, '/scopes'],
    [
      'with a wildcard scope',
      { identifier: 'https://a.example', scopes: [{ name: 'a:*', description: 'x' }] },
      '/scopes/0/name',
    ],
    [
      'with a scope of OpenID Connect',
      { identifier: 'https://a.example', scopes: [{ name: 'openid', description: 'x' }] },
      '/scopes/0/name',
    ],
    [
      'with a scope that says nothing',
      { identifier: 'https://a.example', scopes: [{ name: 'a' }] },
      '/scopes/0/description',
    ],
    ['with a fragment', { identifier: 'https://a.example#b', scopes }, '/identifier'],
    ['that is a script', { identifier: 'javascript:alert(1)', scopes }, '/identifier'],
    [
      'whose tokens live for days',
      { identifier: 'https://a.example', scopes, access_token_ttl_seconds: 86_401 },
      '/access_token_ttl_seconds',
    ],
    ['signed with nothing', { identifier: 'https://a.example', scopes, signing_alg: 'none' }, '/signing_alg'],
  ];
  for (const [what, body, pointer] of refused) {
    it(`is refused ${what}`, async () => {
      const answer = await admin.post('/resources', body);
      assert.deepEqual([answer.status, answer.body.errors[0]?.pointer], [400, pointer]);
    });
  }
});
