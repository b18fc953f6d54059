import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Admin } from '../support/client/admin.ts';
import { claimsOf, exchange, introspect, JWT_BEARER, makePolicy, present } from '../support/client/exchanged_tokens.ts';
import { billing, ExchangeScene, orders } from '../support/client/exchange_parties.ts';
import { signIn } from '../support/client/code_flow.ts';
import { addTo, demoAccountId, endRole, makeRole, removeFrom } from '../support/client/roles.ts';
import { makeIssuer, trust, type OutsideIssuer } from '../support/network/outside_issuer.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { registerClient, registerResource, type RegisteredClient } from '../support/node/operator.ts';

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

describe('a subject of a trusted issuer that has no account here', () => {
  const resource = 'https://reports.example.com';
  let gatehouse: Gatehouse;
  let admin: Admin;
  let issuer: OutsideIssuer;
  let client: RegisteredClient;
  before(async () => {
    gatehouse = await startGatehouse();
    admin = await Admin.of(gatehouse);
    issuer = await makeIssuer(gatehouse.issuer);
    await trust(admin, issuer);
    await registerResource(gatehouse, 'reports');
    client = await registerClient(gatehouse, { grant_types: [JWT_BEARER], introspects: [resource] });
    await makePolicy(admin, 'assertion-policies', {
      client_id: client.client_id,
      issuer: issuer.issuer,
      subject_account: 'external',
      resource,
      scopes: ['reports:read'],
    });
  });
  after(() => gatehouse.stop());

  const ask = async () => present(gatehouse, client, await issuer.assert());

  it('has no scope that is in a role, also in a token from before', async () => {
    const early = await ask();
    assert.equal(claimsOf(early)['scope'], 'reports:read');
    const shown = () => introspect(gatehouse, client, early.body.access_token);
    assert.equal((await shown())['active'], true);
    const held = await makeRole(admin, resource, 'reports:read');
    const { status, body } = await ask();
    assert.deepEqual([status, body.error], [400, 'access_denied']);
    assert.equal((await shown())['active'], false);
    await endRole(admin, held);
    assert.equal((await shown())['active'], true);
  });

  it('may not use a client that is kept for groups', async () => {
    const { body } = await admin.post('/groups', { name: 'Staff' });
    await admin.patch(`/clients/${client.client_id}`, { allowed_groups: [String(body['group_id'])] });
    const answer = await ask();
    assert.deepEqual([answer.status, answer.body.error], [400, 'access_denied']);
    await admin.patch(`/clients/${client.client_id}`, { allowed_groups: null });
    assert.equal((await ask()).status, 200);
  });
});
