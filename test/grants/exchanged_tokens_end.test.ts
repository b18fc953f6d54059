import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { createPolicy } from '../../src/grant_policies/policy_store.ts';
import { Admin } from '../support/client/admin.ts';
import { basic, registerApplication, signIn } from '../support/client/code_flow.ts';
import { requestToken, startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import {
  change,
  eventually,
  registerClient,
  registerResource,
  type RegisteredClient,
} from '../support/node/operator.ts';
import { Person } from '../support/person/person.ts';
import { makeIssuer, trust } from '../support/network/outside_issuer.ts';
import {
  ACCESS_TOKEN,
  claimsOf,
  exchange,
  introspect,
  JWT_BEARER,
  makePolicy,
  present,
  TOKEN_EXCHANGE,
} from '../support/client/exchanged_tokens.ts';

const orders = 'https://orders.example.com';
const billing = 'https://billing.example.com';
const archive = 'https://archive.example.com';

describe('a token that another one was exchanged for', () => {
  let gatehouse: Gatehouse;
  let second: Gatehouse;
  let admin: Admin;
  before(async () => {
    gatehouse = await startGatehouse();
    second = await startGatehouse({ beside: gatehouse });
    admin = await Admin.of(gatehouse);
    for (const name of ['orders', 'billing', 'archive']) await registerResource(gatehouse, name);
  });
  after(async () => {
    await second.stop();
    await gatehouse.stop();
  });

  const exchanger = async (from: string, to: string): Promise<RegisteredClient> => {
    const made = await registerClient(gatehouse, {
      grant_types: [TOKEN_EXCHANGE, 'client_credentials'],
      resources: [{ resource: archive, scopes: ['archive:write'] }],
    });
    const scopeOf = (resource: string): string => `${/\/\/(\w+)\./.exec(resource)?.[1]}:read`;
    await makePolicy(admin, 'exchange-policies', {
      client_id: made.client_id,
      subject_resource: from,
      resource: to,
      scopes: [{ scope: scopeOf(to), from: scopeOf(from) }],
      mode: 'delegation',
    });
    return made;
  };

  /** A person's token for orders, exchanged for one for billing, and that for one for the archive. */
  async function chain() {
    const shop = await registerApplication(gatehouse, { resources: [{ resource: orders, scopes: ['orders:read'] }] });
    const { tokens } = await signIn(gatehouse, shop, { scope: 'orders:read', parameters: { resource: orders } });
    const [backend, archivist] = [await exchanger(orders, billing), await exchanger(billing, archive)];
    const middle = (await exchange(gatehouse, backend, tokens.access_token)).body.access_token;
    const last = (await exchange(second, archivist, middle)).body.access_token;
    const { sub, gid } = claimsOf({ status: 200, body: { access_token: tokens.access_token } });
    const lives = async (): Promise<boolean[]> => [
      (await introspect(gatehouse, backend, middle))['active'] === true,
      (await introspect(gatehouse, archivist, last))['active'] === true,
      (await introspect(second, archivist, last))['active'] === true,
    ];
    assert.deepEqual(await lives(), [true, true, true]);
    return { shop, backend, archivist, first: tokens.access_token, middle, last, sub, gid, lives };
  }
  const dead = (lives: () => Promise<boolean[]>): Promise<void> =>
    eventually(async () => (await lives()).every((alive) => !alive));
  const revoke = async ({ client_id, client_secret }: RegisteredClient, token: string): Promise<void> => {
    const headers = { authorization: basic(client_id, client_secret) };
    const response = await fetch(`${gatehouse.url}/revoke`, {
      method: 'POST',
      headers,
      body: new URLSearchParams({ token }),
    });
    assert.equal(response.status, 200);
  };
  const refusedEverywhere = async (client: RegisteredClient, token: string): Promise<void> => {
    for (const node of [gatehouse, second]) {
      const { status, body } = await exchange(node, client, token);
      assert.deepEqual([status, body.error], [400, 'invalid_request']);
    }
  };

  it('is dead when the first token is revoked, however far down it is', async () => {
    const { shop, first, lives, archivist, middle } = await chain();
    await revoke(shop, first);
    await dead(lives);
    await refusedEverywhere(archivist, middle);
  });

  it('is dead when the one in the middle is revoked, and leaves the first one alone', async () => {
    const { shop, backend, archivist, first, middle, last } = await chain();
    await revoke(backend, middle);
    await eventually(async () => (await introspect(second, archivist, last))['active'] === false);
    assert.equal((await introspect(gatehouse, shop, first))['active'], true);
  });

  it('is dead when the grant that it comes from is ended', async () => {
    const { sub, gid, lives, backend, first } = await chain();
    assert.equal((await admin.delete(`/accounts/${String(sub)}/grants/${String(gid)}`)).status, 204);
    await dead(lives);
    await refusedEverywhere(backend, first);
  });

  it('is dead when any client of its chain is revoked or deleted', async () => {
    for (const which of ['shop', 'backend'] as const) {
      const made = await chain();
      const { status } = await admin.post(`/clients/${made[which].client_id}/revoke`, { reason: 'stolen' });
      assert.equal(status, 200);
      await dead(async () => (await made.lives()).slice(1));
    }
    const { shop, lives } = await chain();
    assert.equal((await admin.delete(`/clients/${shop.client_id}`)).status, 204);
    await dead(lives);
  });

  it('stays dead when that client is restored', async () => {
    const { backend, lives } = await chain();
    await admin.post(`/clients/${backend.client_id}/revoke`, { reason: 'stolen' });
    await admin.post(`/clients/${backend.client_id}/restore`);
    await dead(lives);
  });

  it('is dead when the actor’s token is revoked', async () => {
    const { backend, first } = await chain();
    const actor = await requestToken(gatehouse.url, backend);
    const form = { actor_token: actor, actor_token_type: ACCESS_TOKEN };
    const { body } = await exchange(gatehouse, backend, first, form);
    assert.equal((await introspect(second, backend, body.access_token))['active'], true);
    await revoke(backend, actor);
    await eventually(async () => (await introspect(second, backend, body.access_token))['active'] === false);
  });

  it('is dead when the issuer that vouched for the actor is trusted no more (CVE-2026-1486)', async () => {
    const { first } = await chain();
    const outside = await makeIssuer(gatehouse.issuer);
    await trust(admin, outside);
    const backend = await registerClient(gatehouse, { grant_types: [TOKEN_EXCHANGE, JWT_BEARER], resources: [] });
    await makePolicy(admin, 'assertion-policies', {
      client_id: backend.client_id,
      issuer: outside.issuer,
      subject_account: 'external',
      resource: archive,
      scopes: ['archive:write'],
    });
    await makePolicy(admin, 'exchange-policies', {
      client_id: backend.client_id,
      subject_resource: orders,
      resource: billing,
      scopes: [{ scope: 'billing:read', from: 'orders:read' }],
      mode: 'delegation',
    });
    const actor = (await present(gatehouse, backend, await outside.assert())).body.access_token;
    const form = { actor_token: actor, actor_token_type: ACCESS_TOKEN };
    const { body } = await exchange(gatehouse, backend, first, form);
    const active = async (node: Gatehouse, token: string) => (await introspect(node, backend, token))['active'];
    assert.equal(await active(second, body.access_token), true);
    const { status } = await admin.patch(`/trusted-issuers/${encodeURIComponent(outside.issuer)}`, { disabled: true });
    assert.equal(status, 200);
    await eventually(async () => (await active(second, actor)) === false);
    assert.equal(await active(second, body.access_token), false);
  });

  it('is dead when its account is disabled (CVE-2026-1609)', async () => {
    const { body: made } = await admin.post('/accounts', { email: 'one@example.com', password: 'a long password' });
    const shop = await registerApplication(gatehouse, { resources: [{ resource: orders, scopes: ['orders:read'] }] });
    const person = new Person(gatehouse, { account: { email: 'one@example.com', password: 'a long password' } });
    const how = { scope: 'orders:read', parameters: { resource: orders }, person };
    const { tokens } = await signIn(gatehouse, shop, how);
    const backend = await exchanger(orders, billing);
    const { body } = await exchange(gatehouse, backend, tokens.access_token);
    assert.equal((await admin.post(`/accounts/${made.account_id}/disable`)).status, 200);
    assert.equal((await introspect(second, backend, body.access_token))['active'], false);
    await refusedEverywhere(backend, tokens.access_token);
  });

  it('may be revoked by the client that it was issued to', async () => {
    const { backend, middle, lives } = await chain();
    await revoke(backend, middle);
    await dead(lives);
  });

  it('is no token for the admin API, even where a policy made it one', async () => {
    const client = await registerClient(gatehouse, {
      grant_types: [TOKEN_EXCHANGE, 'client_credentials'],
      resources: [
        { resource: orders, scopes: ['orders:read'] },
        { resource: gatehouse.admin.resource, scopes: ['clients:read'] },
      ],
    });
    await change(gatehouse, (itsChange) =>
      createPolicy(itsChange, {
        grant: 'token_exchange',
        clientId: client.client_id,
        subject: { resource: orders },
        resource: gatehouse.admin.resource,
        scopes: [{ scope: 'clients:read', from: 'orders:read' }],
        mode: 'impersonation',
        maxTtlSeconds: 60,
      }),
    );
    const own = await requestToken(gatehouse.url, client, 'orders:read');
    const claims = claimsOf(await exchange(gatehouse, client, own));
    assert.deepEqual([claims['sub'], claims['client_id']], [client.client_id, client.client_id]);
    const token = (await exchange(gatehouse, client, own)).body.access_token;
    const headers = { authorization: `Bearer ${token}` };
    assert.equal((await fetch(`${gatehouse.url}/admin/v1/clients`, { headers })).status, 403);
  });

  it('is refused where its client was revoked while it was being made, or is dead', async () => {
    const { backend, first } = await chain();
    const [, ...answers] = await Promise.all([
      admin.post(`/clients/${backend.client_id}/revoke`, { reason: 'stolen' }),
      ...Array.from({ length: 20 }, (_, index) => exchange(index % 2 === 0 ? gatehouse : second, backend, first)),
    ]);
    const reader = await registerClient(gatehouse, { resources: [], introspects: [billing] });
    const given = answers.filter(({ status }) => status === 200).map(({ body }) => body.access_token);
    for (const token of given) {
      await eventually(async () => (await introspect(second, reader, token))['active'] === false);
    }
  });
});
