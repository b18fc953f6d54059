import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import {
  claimsOf,
  exchange,
  introspect,
  JWT,
  JWT_BEARER,
  makePolicy,
  present,
  type TokenAnswer,
} from '../support/client/exchanged_tokens.ts';
import { archive, billing, ExchangeScene } from '../support/client/exchange_parties.ts';
import { endRole, makeRole, type HeldRole } from '../support/client/roles.ts';
import { makeIssuer, trust, type OutsideIssuer } from '../support/network/outside_issuer.ts';
import { registerClient, type RegisteredClient } from '../support/node/operator.ts';

const BOTH = ['billing:read', 'billing:write'];

describe('a subject without an account has no roles', () => {
  let scene: ExchangeScene;
  let issuer: OutsideIssuer;
  let bearer: RegisteredClient;
  let exchanger: RegisteredClient;
  let next: RegisteredClient;
  before(async () => {
    scene = await ExchangeScene.open();
    const { admin, gatehouse } = scene;
    issuer = await makeIssuer(gatehouse.issuer);
    await trust(admin, issuer);
    const external = { subject_account: 'external', resource: billing };
    bearer = await registerClient(gatehouse, { grant_types: [JWT_BEARER], resources: [] });
    const ofBearer = { client_id: bearer.client_id, issuer: issuer.issuer, scopes: BOTH, ...external };
    await makePolicy(admin, 'assertion-policies', ofBearer);
    exchanger = await scene.exchanger();
    const scopes = BOTH.map((scope) => ({ scope }));
    const ofExchanger = { client_id: exchanger.client_id, subject_issuer: issuer.issuer, scopes, ...external };
    await makePolicy(admin, 'exchange-policies', { ...ofExchanger, mode: 'impersonation' });
    next = await scene.another({
      subject_resource: billing,
      resource: archive,
      scopes: [{ scope: 'archive:read' }, { scope: 'archive:write' }].map((one, index) => ({
        ...one,
        from: BOTH[index],
      })),
    });
  });
  after(() => scene.stop());

  /** By the JWT bearer grant, by the exchange of an assertion, and by the exchange of the token of the first. */
  const bearerToken = async () => present(scene.gatehouse, bearer, await issuer.assert());
  const exchangedAssertion = async () =>
    exchange(scene.gatehouse, exchanger, await issuer.assert(), { subject_token_type: JWT });
  const exchangedToken = async () => exchange(scene.gatehouse, next, (await bearerToken()).body.access_token);
  const withRole = async (resource: string, scope: string, use: (held: HeldRole) => Promise<void>): Promise<void> => {
    const held = await makeRole(scene.admin, resource, scope);
    await use(held);
    await endRole(scene.admin, held);
  };
  const isDenied = ({ status, body }: TokenAnswer): void =>
    assert.deepEqual([status, body.error], [400, 'access_denied'], JSON.stringify(body));

  it('so it gets a scope only while the scope is in no role', async () => {
    for (const give of [bearerToken, exchangedAssertion]) {
      assert.equal(claimsOf(await give())['scope'], 'billing:read billing:write');
      await withRole(billing, 'billing:write', async () => {
        assert.equal(claimsOf(await give())['scope'], 'billing:read');
      });
    }
    assert.equal(claimsOf(await exchangedToken())['scope'], 'archive:read archive:write');
    await withRole(archive, 'archive:write', async () => {
      assert.equal(claimsOf(await exchangedToken())['scope'], 'archive:read');
    });
  });

  it('so it gets no token for scopes that are all in roles', async () => {
    const held = [await makeRole(scene.admin, billing, ...BOTH), await makeRole(scene.admin, archive, 'archive:read')];
    for (const give of [bearerToken, exchangedAssertion]) isDenied(await give());
    for (const role of held) await endRole(scene.admin, role);
  });

  it('so its token loses a scope at introspection, and in each exchange, when the scope comes into a role', async () => {
    const { access_token: token } = (await bearerToken()).body;
    const { access_token: further } = (await exchangedToken()).body;
    await withRole(billing, 'billing:write', async () => {
      assert.equal((await introspect(scene.gatehouse, bearer, token))['scope'], 'billing:read');
      assert.equal(claimsOf(await exchange(scene.gatehouse, next, token))['scope'], 'archive:read');
    });
    await withRole(archive, 'archive:read', async () => {
      assert.equal((await introspect(scene.gatehouse, next, further))['scope'], 'archive:write');
    });
  });

  it('so it may not use a client that is kept for groups', async () => {
    const { body } = await scene.admin.post('/groups', { name: 'Some' });
    const allowed_groups = [String(body['group_id'])];
    const { access_token: token } = (await bearerToken()).body;
    const uses: readonly (readonly [RegisteredClient, () => Promise<TokenAnswer>])[] = [
      [exchanger, exchangedAssertion],
      [next, exchangedToken],
      [bearer, bearerToken],
    ];
    for (const [client, use] of uses) {
      await scene.admin.patch(`/clients/${client.client_id}`, { allowed_groups });
      isDenied(await use());
    }
    assert.equal((await introspect(scene.gatehouse, bearer, token))['active'], false);
  });

  it('unlike a program, which gets what its client has, also by an exchange', async () => {
    const held = await makeRole(scene.admin, billing, 'billing:read');
    const client = await scene.another({ mode: 'impersonation' });
    const form = { grant_type: 'client_credentials', resource: 'https://orders.example.com' };
    const answer = await exchange(scene.gatehouse, scene.shop, '', {
      ...form,
      subject_token: undefined,
      subject_token_type: undefined,
    });
    const exchanged = await exchange(scene.gatehouse, client, answer.body.access_token);
    assert.equal(claimsOf(exchanged)['scope'], 'billing:read billing:write');
    await endRole(scene.admin, held);
  });
});
