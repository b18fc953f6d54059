import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { claimsOf, exchange } from '../support/client/exchanged_tokens.ts';
import { billing, ExchangeScene, orders } from '../support/client/exchange_parties.ts';
import { signIn } from '../support/client/code_flow.ts';
import { addTo, demoAccountId, endRole, makeRole, removeFrom } from '../support/client/roles.ts';
import type { RegisteredClient } from '../support/node/operator.ts';

describe('the token that an API exchanges a person’s token for', () => {
  let scene: ExchangeScene;
  let accountId: string;
  let api: RegisteredClient;
  let token: string;
  before(async () => {
    scene = await ExchangeScene.open();
    accountId = await demoAccountId(scene.admin);
    api = await scene.exchanger();
    await scene.allow(api);
    const scope = 'orders:read orders:write';
    token = (await signIn(scene.gatehouse, scene.shop, { scope, parameters: { resource: orders } })).tokens
      .access_token;
  });
  after(() => scene.stop());

  const scopeOf = async (): Promise<unknown> => claimsOf(await exchange(scene.gatehouse, api, token))['scope'];

  it('has a scope of a role only while the person holds the role', async () => {
    const held = await makeRole(scene.admin, billing, 'billing:write');
    assert.equal(await scopeOf(), 'billing:read');
    await addTo(scene.admin, held, accountId);
    assert.equal(await scopeOf(), 'billing:read billing:write');
    await removeFrom(scene.admin, held, accountId);
    assert.equal(await scopeOf(), 'billing:read');
    const { status, body } = await exchange(scene.gatehouse, api, token, { scope: 'billing:write' });
    assert.deepEqual([status, body.error], [400, 'access_denied']);
    await endRole(scene.admin, held);
  });

  it('has no more than what the presented token still has by the roles of the person', async () => {
    const held = await makeRole(scene.admin, orders, 'orders:write');
    assert.equal(await scopeOf(), 'billing:read');
    await endRole(scene.admin, held);
    assert.equal(await scopeOf(), 'billing:read billing:write');
  });

  it('is refused to a client that the person may not use', async () => {
    const { body } = await scene.admin.post('/groups', { name: 'Others' });
    const allowed_groups = [String(body['group_id'])];
    await scene.admin.patch(`/clients/${api.client_id}`, { allowed_groups });
    const answer = await exchange(scene.gatehouse, api, token);
    assert.deepEqual([answer.status, answer.body.error], [400, 'access_denied']);
    await scene.admin.patch(`/clients/${api.client_id}`, { allowed_groups: null });
  });

  it('has the groups of the person in a claim that an admin has added, and nothing of their profile', async () => {
    const held = await makeRole(scene.admin, billing, 'billing:write');
    await addTo(scene.admin, held, accountId);
    const claim_mappings = [
      { claim: 'groups', from: 'groups' },
      { claim: 'mail', from: 'email' },
    ];
    await scene.admin.patch(`/resources/${encodeURIComponent(billing)}`, { claim_mappings });
    const { groups, mail } = claimsOf(await exchange(scene.gatehouse, api, token));
    assert.deepEqual([groups, mail], [[held.groupName], undefined]);
    await endRole(scene.admin, held);
  });
});
