import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { MFA_ACR } from '../../src/base/acr_values.ts';
import { Admin } from '../support/client/admin.ts';
import { registerPublicApplication, requestCode, signIn } from '../support/client/code_flow.ts';
import { addTo, demoAccountId, endRole, makeRole, removeFrom } from '../support/client/roles.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { eventually, type RegisteredClient } from '../support/node/operator.ts';

describe('a person with a role of the admin API', () => {
  let gatehouse: Gatehouse;
  let second: Gatehouse;
  let admin: Admin;
  let accountId: string;
  let console_: RegisteredClient;
  before(async () => {
    gatehouse = await startGatehouse();
    second = await startGatehouse({ beside: gatehouse });
    admin = await Admin.of(gatehouse);
    accountId = await demoAccountId(admin);
    const scopes = ['accounts:read', 'accounts:write', 'clients:read'];
    console_ = await registerPublicApplication(gatehouse, {
      client_name: 'Console',
      resources: [{ resource: gatehouse.admin.resource, scopes }],
    });
  });
  after(async () => {
    await second.stop();
    await gatehouse.stop();
  });

  const parameters = () => ({ resource: gatehouse.admin.resource });
  const administer = async (scope: string, node: Gatehouse = gatehouse): Promise<Admin> => {
    const { tokens } = await signIn(gatehouse, console_, { scope, parameters: parameters() });
    return new Admin(node, tokens.access_token);
  };

  it('administers with what the client, the token and the role all have, on record under their own name', async () => {
    const held = await makeRole(admin, gatehouse.admin.resource, 'accounts:write', 'accounts:read', 'keys:read');
    await addTo(admin, held, accountId);
    const mine = await administer('accounts:read accounts:write clients:read');
    const created = await mine.post('/accounts', { email: 'new@example.com' }, { 'idempotency-key': 'x' });
    assert.equal(created.status, 201, created.text);
    assert.equal((await mine.get('/clients')).status, 403, 'The role lacks the scope.');
    assert.equal((await mine.get('/keys')).status, 403, 'The client lacks the scope.');
    const { body } = await admin.get(`/audit-events?event=account.created&account_id=${created.body.account_id}`);
    assert.deepEqual(body.items[0]!['actor'], { type: 'account', id: accountId });
    assert.equal((await mine.delete(`/accounts/${created.body.account_id}`)).status, 204);
    await endRole(admin, held);
  });

  it('loses the right with the membership at once, and on another node within a second', async () => {
    const held = await makeRole(admin, gatehouse.admin.resource, 'accounts:read');
    await addTo(admin, held, accountId);
    const here = await administer('accounts:read');
    const there = new Admin(second, here.token);
    assert.equal((await here.get('/accounts')).status, 200);
    await eventually(async () => (await there.get('/accounts')).status === 200);
    await removeFrom(admin, held, accountId);
    assert.equal((await here.get('/accounts')).status, 401);
    assert.equal((await there.get('/accounts')).status, 401);
    await addTo(admin, held, accountId);
    await admin.patch(`/groups/${held.groupId}`, { roles: [] });
    assert.equal((await here.get('/accounts')).status, 401);
    await eventually(async () => (await there.get('/accounts')).status === 401);
    await endRole(admin, held);
  });

  it('has it only by a membership that was set by hand', async () => {
    const held = await makeRole(admin, gatehouse.admin.resource, 'accounts:read');
    await addTo(admin, held, accountId);
    const token = await administer('accounts:read');
    await gatehouse.database
      .updateTable('group_members')
      .set({ by_hand: false })
      .where('group_id', '=', held.groupId)
      .execute();
    assert.equal((await token.get('/accounts')).status, 401);
    const { callback } = await requestCode(gatehouse, console_, { scope: 'accounts:read', parameters: parameters() });
    assert.equal(callback.searchParams.get('error'), 'access_denied');
    await endRole(admin, held);
  });

  it('needs a second factor if an admin with all admin scopes demands it, and such an admin alone can', async () => {
    const held = await makeRole(admin, gatehouse.admin.resource, 'accounts:read');
    await addTo(admin, held, accountId);
    const path = `/resources/${encodeURIComponent(gatehouse.admin.resource)}`;
    const lesser = await admin.lesser('resources:read', 'resources:write');
    for (const [who, change] of [
      [lesser, { required_acr: MFA_ACR }],
      [admin, { required_acr: MFA_ACR, access_token_ttl_seconds: 60 }],
      [admin, { scopes: [{ name: 'x', description: 'X' }] }],
      [admin, {}],
    ] as const)
      assert.equal((await who.patch(path, change)).status, 403, JSON.stringify(change));
    assert.ok((await administer('accounts:read')).token);
    const demanded = await admin.patch(path, { required_acr: MFA_ACR });
    assert.deepEqual([demanded.status, demanded.body['required_acr']], [200, MFA_ACR], demanded.text);
    await assert.rejects(administer('accounts:read'), /This login needs a second factor/);
    assert.equal((await lesser.patch(path, { required_acr: null })).status, 403);
    assert.equal((await admin.patch(path, { required_acr: null })).status, 200);
    assert.ok((await administer('accounts:read')).token);
    await endRole(admin, held);
  });
});
