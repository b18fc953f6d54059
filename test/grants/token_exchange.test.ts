import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import * as oauth from 'oauth4webapi';
import * as openid from 'openid-client';
import type { Admin } from '../support/client/admin.ts';
import { moveClock, resetClock } from '../support/node/clock.ts';
import { configure, registerApplication, signIn } from '../support/client/code_flow.ts';
import { archive, billing, ExchangeScene, orders, refused } from '../support/client/exchange_parties.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { registerClient, registerResource, type RegisteredClient } from '../support/node/operator.ts';
import {
  ACCESS_TOKEN,
  claimsOf,
  exchange,
  introspect,
  JWT,
  TOKEN_EXCHANGE,
} from '../support/client/exchanged_tokens.ts';

describe('token exchange (RFC 8693)', () => {
  let scene: ExchangeScene;
  let gatehouse: Gatehouse;
  let admin: Admin;
  let second: Gatehouse;
  /** The orders API, which calls the billing API on behalf of people. */
  let backend: RegisteredClient;
  let policyId: string;
  before(async () => {
    scene = await ExchangeScene.open();
    ({ gatehouse, admin } = scene);
    second = await startGatehouse({ beside: gatehouse });
    backend = await scene.exchanger();
    policyId = await scene.allow(backend);
  });
  after(async () => {
    await second.stop();
    await scene.stop();
  });
  afterEach(resetClock);

  describe('with delegation', () => {
    it('gives an API a token for the next one, which names both, as openid-client asks for it', async () => {
      const token = await scene.tokenOfPerson();
      const config = await configure(gatehouse, backend);
      const tokens = await openid.genericGrantRequest(config, TOKEN_EXCHANGE, {
        subject_token: token,
        subject_token_type: ACCESS_TOKEN,
        resource: billing,
      });
      assert.deepEqual([tokens['issued_token_type'], tokens.token_type], [ACCESS_TOKEN, 'bearer']);
      assert.equal(tokens.scope, 'billing:read');
      assert.deepEqual([tokens.refresh_token, tokens.id_token], [undefined, undefined]);
      const subject = claimsOf({ status: 200, body: { access_token: token } });
      const claims = claimsOf({ status: 200, body: { access_token: tokens.access_token } });
      assert.deepEqual([claims['sub'], claims['aud']], [subject['sub'], billing]);
      assert.equal(claims['client_id'], backend.client_id);
      assert.deepEqual(claims['act'], { sub: backend.client_id });
      assert.equal(claims['gid'], subject['gid']);
    });

    it('gives oauth4webapi an answer without fault', async () => {
      const as = { issuer: gatehouse.issuer, token_endpoint: `${gatehouse.issuer}/token` };
      const client = { client_id: backend.client_id };
      const response = await oauth.genericTokenEndpointRequest(
        as,
        client,
        oauth.ClientSecretBasic(backend.client_secret),
        TOKEN_EXCHANGE,
        { subject_token: await scene.tokenOfPerson(), subject_token_type: ACCESS_TOKEN, requested_token_type: JWT },
        { [oauth.allowInsecureRequests]: true },
      );
      const answer = await oauth.processGenericTokenEndpointResponse(as, client, response);
      assert.equal(answer['issued_token_type'], JWT);
    });

    it('shows the actor to an API that introspects', async () => {
      const { body } = await exchange(gatehouse, backend, await scene.tokenOfPerson());
      const reader = await registerClient(gatehouse, { resources: [], introspects: [billing] });
      const told = await introspect(second, reader, body.access_token);
      assert.deepEqual([told['active'], told['act']], [true, { sub: backend.client_id }]);
      assert.deepEqual([told['gen'], told['gid'], told['parents']], [undefined, undefined, undefined]);
    });

    it('names the subject of the actor token', async () => {
      const staff = await registerApplication(gatehouse, {
        grant_types: ['authorization_code', TOKEN_EXCHANGE],
        resources: [{ resource: archive, scopes: ['archive:read'] }],
      });
      await scene.allow(staff, {});
      const actor = await signIn(gatehouse, staff, { scope: 'archive:read', parameters: { resource: archive } });
      const form = { actor_token: actor.tokens.access_token, actor_token_type: ACCESS_TOKEN };
      const claims = claimsOf(await exchange(gatehouse, staff, await scene.tokenOfPerson(), form));
      const its = claimsOf({ status: 200, body: { access_token: actor.tokens.access_token } });
      assert.deepEqual(claims['act'], { sub: its['sub'] });
    });

    it('keeps the actors before it, the newest outermost (RFC 8693, 4.1)', async () => {
      const archivist = await scene.another({
        subject_resource: billing,
        resource: archive,
        scopes: [{ scope: 'archive:read', from: 'billing:read' }],
      });
      const first = await exchange(gatehouse, backend, await scene.tokenOfPerson());
      const claims = claimsOf(await exchange(gatehouse, archivist, first.body.access_token));
      assert.deepEqual(claims['act'], { sub: archivist.client_id, act: { sub: backend.client_id } });
    });

    it('goes so deep and no deeper', async () => {
      const looping = await scene.another({ resource: orders, scopes: [{ scope: 'orders:read' }] });
      let token = await scene.tokenOfPerson();
      for (let depth = 1; depth <= 5; depth++) token = (await exchange(gatehouse, looping, token)).body.access_token;
      refused(await exchange(gatehouse, looping, token), 'invalid_request', /too many times/);
    });
  });

  describe('with impersonation', () => {
    it('gives a token that names no actor, and yet is the client’s', async () => {
      const client = await scene.another({ mode: 'impersonation' });
      const claims = claimsOf(await exchange(gatehouse, client, await scene.tokenOfPerson()));
      assert.equal('act' in claims, false);
      assert.equal(claims['client_id'], client.client_id);
    });

    it('does not take an actor token', async () => {
      const client = await scene.another({ mode: 'impersonation' });
      const token = await scene.tokenOfPerson();
      const form = { actor_token: token, actor_token_type: ACCESS_TOKEN };
      refused(await exchange(gatehouse, client, token, form), 'invalid_request', /actor_token/);
    });

    it('does not make those who acted before disappear, and ends somewhere, too', async () => {
      const client = await scene.another({
        subject_resource: billing,
        scopes: [{ scope: 'billing:read' }],
        mode: 'impersonation',
      });
      let { body } = await exchange(gatehouse, backend, await scene.tokenOfPerson());
      const claims = claimsOf(await exchange(gatehouse, client, body.access_token));
      assert.deepEqual(claims['act'], { sub: backend.client_id });
      let times = 0;
      for (let status = 200; status === 200 && times < 20; times++) {
        const next = await exchange(gatehouse, client, body.access_token);
        status = next.status;
        if (status === 200) body = next.body;
        else refused(next, 'invalid_request', /too many times/);
      }
      assert.ok(times < 20, 'It went on for ever.');
    });
  });

  describe('never gives more than there was', () => {
    it('no scope that the subject’s token does not have', async () => {
      const token = await scene.tokenOfPerson('orders:read');
      assert.equal((await exchange(gatehouse, backend, token)).body['scope'], 'billing:read');
      refused(await exchange(gatehouse, backend, token, { scope: 'billing:write' }), 'invalid_scope', /scope/);
      refused(await exchange(gatehouse, backend, token, { scope: 'billing:read billing:write' }), 'invalid_scope', /./);
      refused(await exchange(gatehouse, backend, token, { scope: 'orders:read' }), 'invalid_scope', /scope/);
      refused(await exchange(gatehouse, backend, token, { scope: 'openid' }), 'invalid_scope', /scope/);
      const both = await scene.tokenOfPerson('orders:read orders:write');
      assert.equal((await exchange(gatehouse, backend, both)).body['scope'], 'billing:read billing:write');
      assert.equal(
        (await exchange(gatehouse, backend, both, { scope: 'billing:write' })).body['scope'],
        'billing:write',
      );
    });

    it('no token where none of its scopes is of use', async () => {
      const client = await scene.another({ scopes: [{ scope: 'billing:write', from: 'orders:write' }] });
      refused(await exchange(gatehouse, client, await scene.tokenOfPerson()), 'invalid_scope', /no scope/);
    });

    it('no scope that its API has lost since, nor one that was made anew under its name', async () => {
      const { resource, scopes } = await registerResource(gatehouse, 'shrinking');
      const client = await scene.another({ resource, scopes: [{ scope: scopes[0], from: 'orders:read' }] });
      const token = await scene.tokenOfPerson();
      claimsOf(await exchange(gatehouse, client, token));
      const path = `/resources/${encodeURIComponent(resource)}`;
      const described = scopes.map((name) => ({ name, description: name }));
      await admin.patch(path, { scopes: described.slice(1) });
      refused(await exchange(gatehouse, client, token), 'invalid_scope', /scope/);
      await admin.patch(path, { scopes: described });
      refused(await exchange(gatehouse, client, token), 'invalid_scope', /scope/);
    });

    it('no longer life', async () => {
      const lasting = await scene.another({
        max_ttl_seconds: 86_400,
        resource: orders,
        scopes: [{ scope: 'orders:read' }],
      });
      const brief = await scene.another({ max_ttl_seconds: 20 });
      const token = await scene.tokenOfPerson();
      const ofSubject = claimsOf({ status: 200, body: { access_token: token } });
      assert.equal((await exchange(gatehouse, brief, token)).body['expires_in'], 20);
      moveClock(100);
      const answer = await exchange(gatehouse, lasting, token);
      assert.equal(claimsOf(answer)['exp'], ofSubject['exp']);
      assert.ok(Number(answer.body['expires_in']) <= 500, String(answer.body['expires_in']));
      moveClock(501);
      refused(await exchange(gatehouse, lasting, token), 'invalid_request', /valid access token of this server/);
    });

    it('no other API, and none at all that is not named where several could be meant', async () => {
      const token = await scene.tokenOfPerson();
      for (const target of [
        { resource: archive },
        { audience: archive },
        { audience: 'billing' },
        { resource: orders },
      ]) {
        refused(await exchange(gatehouse, backend, token, target), 'invalid_target', /resource/);
      }
      const client = await scene.another({});
      await scene.allow(client, { resource: archive, scopes: [{ scope: 'archive:read', from: 'orders:read' }] });
      refused(await exchange(gatehouse, client, token), 'invalid_target', /several/);
      assert.equal(claimsOf(await exchange(gatehouse, client, token, { audience: archive }))['aud'], archive);
      assert.equal(claimsOf(await exchange(gatehouse, client, token, { resource: billing }))['aud'], billing);
      const both = { audience: billing, resource: billing };
      assert.equal(claimsOf(await exchange(gatehouse, client, token, both))['aud'], billing);
    });

    it('no right to administer', async () => {
      const token = await scene.tokenOfPerson();
      refused(await exchange(gatehouse, backend, token, { resource: gatehouse.admin.resource }), 'invalid_target', /./);
    });
  });

  it('leaves in the trail whose token was exchanged, by whom and by which policy', async () => {
    const token = await scene.tokenOfPerson();
    const subject = claimsOf({ status: 200, body: { access_token: token } });
    const { jti } = claimsOf(await exchange(gatehouse, backend, token));
    const rows = await gatehouse.database
      .selectFrom('audit_events')
      .select(['client_id', 'account_id', 'details'])
      .where('event', '=', 'token.issued')
      .where('client_id', '=', backend.client_id)
      .execute();
    const its = rows.find(({ details }) => details['jti'] === jti);
    assert.equal(its?.account_id, subject['sub']);
    const { grant_type, policy_id, subject: sub, actor, from_jti } = its?.details ?? {};
    assert.deepEqual(
      [grant_type, policy_id, sub, actor, from_jti],
      [TOKEN_EXCHANGE, policyId, subject['sub'], backend.client_id, subject['jti']],
    );
  });
});
