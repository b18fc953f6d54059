import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Admin, type Answer } from '../support/client/admin.ts';
import { addTo, demoAccountId, endRole, makeRole, removeFrom } from '../support/client/roles.ts';
import { atOnce, startPair, type Pair } from '../support/node/pair.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';

const API = 'https://articles.example.com';

describe('roles and groups in the admin API', () => {
  let gatehouse: Gatehouse;
  let admin: Admin;
  let accountId: string;
  before(async () => {
    gatehouse = await startGatehouse();
    admin = await Admin.of(gatehouse);
    accountId = await demoAccountId(admin);
    const scopes = ['a', 'b', 'c'].map((name) => ({ name, description: name }));
    assert.equal((await admin.post('/resources', { identifier: API, scopes })).status, 201);
  });
  after(() => gatehouse.stop());

  const role = (name: string, ...scopes: string[]) => ({
    name,
    description: 'A test',
    resources: [{ resource: API, scopes }],
  });
  const lastEvent = async (event: string) =>
    (await admin.get(`/audit-events?event=${event}&limit=1`)).body.items[0] as unknown as {
      account_id: string | null;
      details: Record<string, unknown>;
    };
  const problemOf = ({ status, body }: Answer) => [
    status,
    body.errors?.[0] ? `${body.errors[0].pointer ?? ''} ${body.errors[0].detail}` : body.detail,
  ];

  it('make, show, change and delete a role, each on record with what was before and after', async () => {
    const made = await admin.post('/roles', role('editor', 'a', 'b'));
    assert.equal(made.status, 201, made.text);
    assert.equal(made.headers.get('location'), `${gatehouse.admin.resource}/roles/editor`);
    assert.deepEqual((await lastEvent('role.created')).details, { role: 'editor', resources: [`${API} a b`] });

    const etag = made.headers.get('etag')!;
    assert.equal((await admin.get('/roles/editor', { 'if-none-match': etag })).status, 304);
    const change = { resources: [{ resource: API, scopes: ['a', 'b', 'c'] }] };
    const changed = await admin.patch('/roles/editor', change, { 'if-match': etag });
    assert.equal(changed.status, 200, changed.text);
    assert.deepEqual((await admin.get('/roles/editor')).body['resources'], change.resources);
    assert.equal((await admin.patch('/roles/editor', change, { 'if-match': etag })).status, 412);
    assert.deepEqual((await lastEvent('role.updated')).details, {
      role: 'editor',
      members: ['resources'],
      before: { resources: [{ resource: API, scopes: ['a', 'b'] }] },
      after: { resources: [{ resource: API, scopes: ['a', 'b', 'c'] }] },
      resources: [`${API} a b c`],
    });
    assert.equal((await admin.delete('/roles/editor?open_scopes=true')).status, 204);
    assert.equal((await admin.get('/roles/editor')).status, 404);
    assert.deepEqual((await lastEvent('role.deleted')).details, { role: 'editor', resources: [`${API} a b c`] });
  });

  it('refuse a role that is not well formed, with what to change', async () => {
    const refused: readonly [body: object, problem: RegExp][] = [
      [{ ...role('x y', 'a') }, /^\/name must begin with a letter/],
      [{ ...role('x'), resources: [] }, /^\/resources must name at least one/],
      [role('x', 'unknown'), /^\/resources\/0\/scopes names scopes that .* does not have: unknown/],
      [{ ...role('x', 'a'), resources: [{ resource: 'https://x.example', scopes: ['a'] }] }, /not registered/],
      [{ ...role('x', 'a'), description: '\u202e' }, /^\/description must not contain control or invisible/],
      [{ ...role('x', 'a'), members: [] }, /^\/members is not known/],
    ];
    for (const [body, problem] of refused) {
      const [status, detail] = problemOf(await admin.post('/roles', body));
      assert.equal(status, 400);
      assert.match(String(detail), problem);
    }
    assert.equal((await admin.post('/roles', role('twice', 'a'))).status, 201);
    assert.equal((await admin.post('/roles', role('twice', 'a'))).status, 409);
    assert.equal((await admin.delete('/roles/twice?open_scopes=true')).status, 204);
  });

  it('do not open a scope to everybody by accident', async () => {
    await admin.post('/roles', role('first', 'a', 'b'));
    await admin.post('/roles', role('second', 'b'));
    const [status, detail] = problemOf(await admin.delete('/roles/first'));
    assert.equal(status, 409);
    assert.match(String(detail), /no role has a of https:\/\/articles\.example\.com: everybody could get it/);
    const without = { resources: [{ resource: API, scopes: ['b'] }] };
    assert.equal((await admin.patch('/roles/first', without)).status, 409);
    assert.equal((await admin.patch('/roles/first?open_scopes=true', without)).status, 200);
    assert.equal((await admin.delete('/roles/first')).status, 204, 'The other role still has the scope.');
    assert.equal((await admin.delete('/roles/second?open_scopes=true')).status, 204);
  });

  it('keep a role while a group holds it, and a resource while a role has its scopes', async () => {
    const held = await makeRole(admin, API, 'a');
    const [status, detail] = problemOf(await admin.delete(`/roles/${held.role}?open_scopes=true`));
    assert.deepEqual(
      [status, detail],
      [409, `Groups still hold the role ${held.role} (${held.groupName}); take it from them first.`],
    );
    const [resourceStatus, resourceDetail] = problemOf(await admin.delete(`/resources/${encodeURIComponent(API)}`));
    assert.equal(resourceStatus, 409);
    assert.match(String(resourceDetail), new RegExp(`Roles still have scopes .*${held.role}`));
    await endRole(admin, held);
  });

  it('make, show, find, change and delete a group', async () => {
    await admin.post('/roles', role('writer', 'a'));
    await admin.post('/roles', role('reader', 'b'));
    const made = await admin.post('/groups', { name: 'Newsroom', roles: ['writer'] });
    assert.equal(made.status, 201, made.text);
    const groupId = String(made.body['group_id']);
    assert.deepEqual((await lastEvent('group.created')).details, {
      group_id: groupId,
      name: 'Newsroom',
      roles: ['writer'],
    });
    assert.equal((await admin.post('/groups', { name: 'Newsroom' })).status, 409);
    assert.deepEqual(problemOf(await admin.post('/groups', { name: 'x', roles: ['nobody'] })), [
      400,
      '/roles/0 names a role that does not exist',
    ]);
    for (const [query, expected] of [
      ['q=EWSR', 1],
      ['q=Newsroom%25', 0],
      ['role=writer', 1],
      ['role=reader', 0],
    ] as const)
      assert.equal((await admin.get(`/groups?${query}`)).body.items.length, expected, query);
    const etag = made.headers.get('etag')!;
    const changed = await admin.patch(
      `/groups/${groupId}`,
      { name: 'News', roles: ['reader', 'writer'] },
      { 'if-match': etag },
    );
    assert.deepEqual(changed.body['roles'], ['reader', 'writer'], changed.text);
    const { before: was, after: is } = (await lastEvent('group.updated')).details;
    assert.deepEqual(
      [was, is],
      [
        { name: 'Newsroom', roles: ['writer'] },
        { name: 'News', roles: ['reader', 'writer'] },
      ],
    );
    assert.equal((await admin.delete(`/groups/${groupId}`, { 'if-match': etag })).status, 412);
    assert.equal((await admin.delete(`/groups/${groupId}`)).status, 204);
    for (const name of ['writer', 'reader']) await admin.delete(`/roles/${name}?open_scopes=true`);
  });

  it('add and remove members, and list both sides in pages', async () => {
    const held = await makeRole(admin, API, 'a');
    const others = await Promise.all(
      ['one', 'two'].map(
        async (name) => (await admin.post('/accounts', { email: `${name}@example.com` })).body.account_id,
      ),
    );
    for (const id of [accountId, ...others]) await addTo(admin, held, id);
    const path = `/groups/${held.groupId}/members`;
    assert.equal((await admin.post(path, { account_id: accountId })).status, 409);
    assert.equal((await admin.post(path, { account_id: 'account_x' })).status, 404);
    const first = await admin.get(`${path}?limit=2`);
    const rest = await admin.get(`${path}?limit=2&cursor=${first.body.next_cursor}`);
    assert.deepEqual(
      [...first.body.items, ...rest.body.items].map((member) => member.account_id),
      [accountId, ...others],
    );
    const mine = await admin.get(`/accounts/${accountId}/groups`);
    assert.deepEqual(
      mine.body.items.map((group) => [group['name'], group['roles']]),
      [[held.groupName, [held.role]]],
    );
    const added = await lastEvent('group.member_added');
    assert.deepEqual([added.account_id, added.details['group_id']], [others[1], held.groupId]);

    await removeFrom(admin, held, accountId);
    assert.equal((await admin.delete(`${path}/${accountId}`)).status, 404);
    assert.equal((await lastEvent('group.member_removed')).account_id, accountId);
    assert.equal((await admin.delete(`/accounts/${others[0]}`)).status, 204);
    assert.deepEqual(
      (await admin.get(path)).body.items.map((member) => member.account_id),
      [others[1]],
    );
    await admin.delete(`/accounts/${others[1]}`);
    await endRole(admin, held);
  });
});

describe('two nodes that change one group at once', () => {
  let pair: Pair;
  before(async () => {
    pair = await startPair();
  });
  after(() => pair.stop());

  it('add an account once, and record it once', async () => {
    const admins = { a: await Admin.of(pair.a), b: await Admin.of(pair.b) };
    const id = await demoAccountId(admins.a);
    const { body } = await admins.a.post('/groups', { name: 'Raced' });
    const path = `/groups/${String(body['group_id'])}/members`;
    const answers = await atOnce(8, pair, (node) =>
      (node === pair.a ? admins.a : admins.b).post(path, { account_id: id }),
    );
    assert.deepEqual(
      answers.map(({ status }) => status).sort((a, b) => a - b),
      [201, ...Array.from({ length: 7 }, () => 409)],
    );
    const { body: events } = await admins.a.get('/audit-events?event=group.member_added');
    assert.equal(events.items.length, 1);
  });
});
