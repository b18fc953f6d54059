import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Admin, type Answer } from '../support/client/admin.ts';
import { endRole, makeRole } from '../support/client/roles.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';

const API = 'https://articles.example.com';

describe('scopes that are for people with a role', () => {
  let gatehouse: Gatehouse;
  let admin: Admin;
  before(async () => {
    gatehouse = await startGatehouse();
    admin = await Admin.of(gatehouse);
    assert.equal((await admin.post('/resources', { identifier: API, ...withScopes('a', 'b', 'c') })).status, 201);
  });
  after(() => gatehouse.stop());

  const problemOf = ({ status, body }: Answer) => [status, body.detail];
  const accessOf = async (role: string) => (await admin.get(`/roles/${role}`)).body['resources'];
  const api = `/resources/${encodeURIComponent(API)}`;
  const withScopes = (...names: string[]) => ({ scopes: names.map((name) => ({ name, description: name })) });

  it('stay at their resource while a role has them, unless the call opens them', async () => {
    const held = await makeRole(admin, API, 'a', 'c');
    const [status, detail] = problemOf(await admin.patch(api, withScopes('a', 'b')));
    assert.equal(status, 409);
    assert.match(String(detail), new RegExp(`^Roles still have scopes .*\\(${held.role}\\).* open_scopes=true`));
    assert.deepEqual(await accessOf(held.role), [{ resource: API, scopes: ['a', 'c'] }]);
    assert.equal((await admin.patch(api, withScopes('a', 'c'))).status, 200, 'No role has b.');
    const opened = await admin.patch(`${api}?open_scopes=true`, withScopes('a', 'b'));
    assert.equal(opened.status, 200, opened.text);
    assert.deepEqual(await accessOf(held.role), [{ resource: API, scopes: ['a'] }]);
    const [event] = (await admin.get('/audit-events?event=role.updated&limit=1')).body.items;
    const { before: was, after: is } = event!['details'] as Record<string, unknown>;
    assert.deepEqual(
      [was, is],
      [{ resources: [{ resource: API, scopes: ['a', 'c'] }] }, { resources: [{ resource: API, scopes: ['a'] }] }],
    );
    assert.equal((await admin.patch(api, withScopes('a', 'b', 'c'))).status, 200);
    await endRole(admin, held);
  });

  it('leave no role empty when they are removed', async () => {
    const held = await makeRole(admin, API, 'c');
    assert.deepEqual(problemOf(await admin.patch(`${api}?open_scopes=true`, withScopes('a', 'b'))), [
      409,
      `Roles would be left without a scope (${held.role}); delete them first, or give them another scope.`,
    ]);
    assert.deepEqual(await accessOf(held.role), [{ resource: API, scopes: ['c'] }]);
    await endRole(admin, held);
  });

  it('are removed from a resource only by an admin who may also change roles', async () => {
    const held = await makeRole(admin, API, 'a', 'c');
    const lesser = await admin.lesser('resources:write');
    assert.equal((await lesser.patch(api, withScopes('a', 'b'))).status, 409);
    const [status, detail] = problemOf(await lesser.patch(`${api}?open_scopes=true`, withScopes('a', 'b')));
    assert.equal(status, 403);
    assert.match(String(detail), /you need roles:write/);
    assert.deepEqual(await accessOf(held.role), [{ resource: API, scopes: ['a', 'c'] }]);
    await endRole(admin, held);
  });

  it('are not opened by two roles that lose them at the same time', async () => {
    for (let round = 0; round < 8; round += 1) {
      const roles = [`one-${round}`, `two-${round}`];
      for (const name of roles) {
        const resources = [{ resource: API, scopes: ['a'] }];
        assert.equal((await admin.post('/roles', { name, description: 'A test', resources })).status, 201);
      }
      const answers = await Promise.all(roles.map((name) => admin.delete(`/roles/${name}`)));
      assert.deepEqual(
        answers.map(({ status }) => status).toSorted((a, b) => a - b),
        [204, 409],
      );
      await Promise.all(roles.map((name) => admin.delete(`/roles/${name}?open_scopes=true`)));
    }
  });
});
