import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import * as oauth from 'oauth4webapi';
import * as openid from 'openid-client';
import { Admin } from './support/admin.ts';
import { moveClock, resetClock } from './support/clock.ts';
import { configure, registerApplication, signIn } from './support/code_flow.ts';
import { athOf, makeProofKey, prove } from './support/dpop.ts';
import { requestToken, startGatehouse, type Gatehouse } from './support/gatehouse.ts';
import { registerClient, registerResource, type RegisteredClient } from './support/operator.ts';
import { makeIssuer, trust, type OutsideIssuer } from './support/outside_issuer.ts';
import {
  ACCESS_TOKEN,
  claimsOf,
  exchange,
  introspect,
  JWT,
  makePolicy,
  TOKEN_EXCHANGE,
  type Form,
  type TokenAnswer,
} from './support/traded_tokens.ts';

const orders = 'https://orders.example.com';
const billing = 'https://billing.example.com';
const archive = 'https://archive.example.com';

describe('token exchange (RFC 8693)', () => {
  let gatehouse: Gatehouse;
  let second: Gatehouse;
  let admin: Admin;
  /** Where people log in; its tokens are for the orders API. */
  let shop: RegisteredClient;
  /** The orders API, which calls the billing API on behalf of people. */
  let backend: RegisteredClient;
  let policyId: string;
  before(async () => {
    gatehouse = await startGatehouse();
    second = await startGatehouse({ beside: gatehouse });
    admin = await Admin.of(gatehouse);
    for (const name of ['orders', 'billing', 'archive']) await registerResource(gatehouse, name);
    shop = await registerApplication(gatehouse, {
      grant_types: ['authorization_code', 'refresh_token', 'client_credentials'],
      resources: [{ resource: orders, scopes: ['orders:read', 'orders:write'] }],
    });
    backend = await exchanger();
    policyId = await allow(backend, {});
  });
  after(async () => {
    await second.stop();
    await gatehouse.stop();
  });

  afterEach(resetClock);

  const exchanger = (metadata: Readonly<Record<string, unknown>> = {}): Promise<RegisteredClient> =>
    registerClient(gatehouse, { grant_types: [TOKEN_EXCHANGE, 'client_credentials'], resources: [], ...metadata });
  const allow = ({ client_id }: RegisteredClient, changed: Readonly<Record<string, unknown>>): Promise<string> =>
    makePolicy(admin, 'exchange-policies', {
      client_id,
      subject_resource: orders,
      resource: billing,
      scopes: [
        { scope: 'billing:read', from: 'orders:read' },
        { scope: 'billing:write', from: 'orders:write' },
      ],
      mode: 'delegation',
      ...changed,
    });
  const another = async (
    changed: Readonly<Record<string, unknown>>,
    metadata: Readonly<Record<string, unknown>> = {},
  ): Promise<RegisteredClient> => {
    const made = await exchanger(metadata);
    await allow(made, changed);
    return made;
  };
  const tokenOfPerson = async (scope = 'orders:read'): Promise<string> =>
    (await signIn(gatehouse, shop, { scope, parameters: { resource: orders } })).tokens.access_token;
  const refused = (answer: TokenAnswer, error: string, words: RegExp): void => {
    assert.deepEqual([answer.status, answer.body.error], [400, error], JSON.stringify(answer.body));
    assert.match(String(answer.body.error_description), words);
    assert.equal(answer.body.access_token, undefined);
  };

  describe('with delegation', () => {
    it('gives an API a token for the next one, which names both, as openid-client asks for it', async () => {
      const token = await tokenOfPerson();
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
        { subject_token: await tokenOfPerson(), subject_token_type: ACCESS_TOKEN, requested_token_type: JWT },
        { [oauth.allowInsecureRequests]: true },
      );
      const answer = await oauth.processGenericTokenEndpointResponse(as, client, response);
      assert.equal(answer['issued_token_type'], JWT);
    });

    it('shows the actor to whoever introspects', async () => {
      const { body } = await exchange(gatehouse, backend, await tokenOfPerson());
      const reader = await registerClient(gatehouse, { resources: [], introspects: [billing] });
      const told = await introspect(second, reader, body.access_token);
      assert.deepEqual([told['active'], told['act']], [true, { sub: backend.client_id }]);
      assert.deepEqual([told['gen'], told['gid'], told['parents']], [undefined, undefined, undefined]);
    });

    it('names whoever the actor token is about', async () => {
      const staff = await registerApplication(gatehouse, {
        grant_types: ['authorization_code', TOKEN_EXCHANGE],
        resources: [{ resource: archive, scopes: ['archive:read'] }],
      });
      await allow(staff, {});
      const actor = await signIn(gatehouse, staff, { scope: 'archive:read', parameters: { resource: archive } });
      const form = { actor_token: actor.tokens.access_token, actor_token_type: ACCESS_TOKEN };
      const claims = claimsOf(await exchange(gatehouse, staff, await tokenOfPerson(), form));
      const its = claimsOf({ status: 200, body: { access_token: actor.tokens.access_token } });
      assert.deepEqual(claims['act'], { sub: its['sub'] });
    });

    it('keeps the actors before it, the newest outermost (RFC 8693, 4.1)', async () => {
      const archivist = await another({
        subject_resource: billing,
        resource: archive,
        scopes: [{ scope: 'archive:read', from: 'billing:read' }],
      });
      const first = await exchange(gatehouse, backend, await tokenOfPerson());
      const claims = claimsOf(await exchange(gatehouse, archivist, first.body.access_token));
      assert.deepEqual(claims['act'], { sub: archivist.client_id, act: { sub: backend.client_id } });
    });

    it('goes so deep and no deeper', async () => {
      const looping = await another({ resource: orders, scopes: [{ scope: 'orders:read' }] });
      let token = await tokenOfPerson();
      for (let depth = 1; depth <= 5; depth++) token = (await exchange(gatehouse, looping, token)).body.access_token;
      refused(await exchange(gatehouse, looping, token), 'invalid_request', /too many times/);
    });
  });

  describe('with impersonation', () => {
    it('gives a token that names no actor, and yet is the client’s', async () => {
      const client = await another({ mode: 'impersonation' });
      const claims = claimsOf(await exchange(gatehouse, client, await tokenOfPerson()));
      assert.equal('act' in claims, false);
      assert.equal(claims['client_id'], client.client_id);
    });

    it('does not take an actor token', async () => {
      const client = await another({ mode: 'impersonation' });
      const token = await tokenOfPerson();
      const form = { actor_token: token, actor_token_type: ACCESS_TOKEN };
      refused(await exchange(gatehouse, client, token, form), 'invalid_request', /actor_token/);
    });

    it('does not make those who acted before disappear, and ends somewhere, too', async () => {
      const client = await another({
        subject_resource: billing,
        scopes: [{ scope: 'billing:read' }],
        mode: 'impersonation',
      });
      let { body } = await exchange(gatehouse, backend, await tokenOfPerson());
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
    it('no scope that the subject’s token does not stand for', async () => {
      const token = await tokenOfPerson('orders:read');
      assert.equal((await exchange(gatehouse, backend, token)).body['scope'], 'billing:read');
      refused(await exchange(gatehouse, backend, token, { scope: 'billing:write' }), 'invalid_scope', /scope/);
      refused(await exchange(gatehouse, backend, token, { scope: 'billing:read billing:write' }), 'invalid_scope', /./);
      refused(await exchange(gatehouse, backend, token, { scope: 'orders:read' }), 'invalid_scope', /scope/);
      refused(await exchange(gatehouse, backend, token, { scope: 'openid' }), 'invalid_scope', /scope/);
      const both = await tokenOfPerson('orders:read orders:write');
      assert.equal((await exchange(gatehouse, backend, both)).body['scope'], 'billing:read billing:write');
      assert.equal(
        (await exchange(gatehouse, backend, both, { scope: 'billing:write' })).body['scope'],
        'billing:write',
      );
    });

    it('no token where none of its scopes is of use', async () => {
      const client = await another({ scopes: [{ scope: 'billing:write', from: 'orders:write' }] });
      refused(await exchange(gatehouse, client, await tokenOfPerson()), 'invalid_scope', /no scope/);
    });

    it('no scope that its API has lost since, nor one that was made anew under its name', async () => {
      const { resource, scopes } = await registerResource(gatehouse, 'shrinking');
      const client = await another({ resource, scopes: [{ scope: scopes[0], from: 'orders:read' }] });
      const token = await tokenOfPerson();
      claimsOf(await exchange(gatehouse, client, token));
      const path = `/resources/${encodeURIComponent(resource)}`;
      const described = scopes.map((name) => ({ name, description: name }));
      await admin.patch(path, { scopes: described.slice(1) });
      refused(await exchange(gatehouse, client, token), 'invalid_scope', /scope/);
      await admin.patch(path, { scopes: described });
      refused(await exchange(gatehouse, client, token), 'invalid_scope', /scope/);
    });

    it('no longer life', async () => {
      const lasting = await another({ max_ttl_seconds: 86_400, resource: orders, scopes: [{ scope: 'orders:read' }] });
      const brief = await another({ max_ttl_seconds: 20 });
      const token = await tokenOfPerson();
      const ofSubject = claimsOf({ status: 200, body: { access_token: token } });
      assert.equal((await exchange(gatehouse, brief, token)).body['expires_in'], 20);
      moveClock(100);
      const answer = await exchange(gatehouse, lasting, token);
      assert.equal(claimsOf(answer)['exp'], ofSubject['exp']);
      assert.ok(Number(answer.body['expires_in']) <= 500, String(answer.body['expires_in']));
      moveClock(501);
      refused(await exchange(gatehouse, lasting, token), 'invalid_request', /still good/);
    });

    it('no other API, and none at all that is not named where several could be meant', async () => {
      const token = await tokenOfPerson();
      for (const target of [
        { resource: archive },
        { audience: archive },
        { audience: 'billing' },
        { resource: orders },
      ]) {
        refused(await exchange(gatehouse, backend, token, target), 'invalid_target', /resource/);
      }
      const client = await another({});
      await allow(client, { resource: archive, scopes: [{ scope: 'archive:read', from: 'orders:read' }] });
      refused(await exchange(gatehouse, client, token), 'invalid_target', /several/);
      assert.equal(claimsOf(await exchange(gatehouse, client, token, { audience: archive }))['aud'], archive);
      assert.equal(claimsOf(await exchange(gatehouse, client, token, { resource: billing }))['aud'], billing);
      const both = { audience: billing, resource: billing };
      assert.equal(claimsOf(await exchange(gatehouse, client, token, both))['aud'], billing);
    });

    it('no right to administer', async () => {
      const token = await tokenOfPerson();
      refused(await exchange(gatehouse, backend, token, { resource: gatehouse.admin.resource }), 'invalid_target', /./);
    });
  });

  describe('refuses as subject token', () => {
    const bad: readonly [what: string, token: () => Promise<string> | string][] = [
      [
        'a token of another server',
        async () => (await makeIssuer('https://other.example')).assert({ header: { typ: 'at+jwt' } }),
      ],
      ['a token whose API no policy names', () => requestToken(gatehouse.url, gatehouse.demo)],
      ['a token for the admin API', () => gatehouse.adminToken()],
      ['nonsense', () => 'nonsense'],
      ['a very long one', () => 'x'.repeat(30_000)],
      ['one without its signature', async () => (await tokenOfPerson()).split('.').slice(0, 2).join('.') + '.'],
      ['one whose signature was changed', async () => `${(await tokenOfPerson()).slice(0, -6)}AAAAAA`],
      ['an ID token', async () => String((await signIn(gatehouse, shop, { scope: 'openid' })).tokens.id_token)],
      ['an opaque access token', async () => (await signIn(gatehouse, shop, { scope: 'openid' })).tokens.access_token],
      [
        'a refresh token',
        async () => {
          const parameters = { resource: orders, prompt: 'consent' };
          const { tokens } = await signIn(gatehouse, shop, { scope: 'orders:read offline_access', parameters });
          return String(tokens.refresh_token);
        },
      ],
    ];
    for (const [what, token] of bad) {
      it(what, async () => {
        refused(await exchange(gatehouse, backend, await token()), 'invalid_request', /subject_token is refused/);
      });
    }
  });

  describe('refuses a request', () => {
    const cases: readonly [what: string, form: Form, error: string, words: RegExp][] = [
      ['without subject_token', { subject_token: undefined }, 'invalid_request', /subject_token/],
      ['without subject_token_type', { subject_token_type: undefined }, 'invalid_request', /subject_token_type/],
      [
        'with a type that there is not',
        { subject_token_type: 'access_token' },
        'invalid_request',
        /subject_token_type/,
      ],
      [
        'with an access token that is called a JWT of others',
        { subject_token_type: JWT },
        'invalid_request',
        /not trusted/,
      ],
      ['with two subject tokens', { subject_token: ['a', 'b'] }, 'invalid_request', /twice/],
      ['with two types', { subject_token_type: [ACCESS_TOKEN, ACCESS_TOKEN] }, 'invalid_request', /twice/],
      ['for two APIs', { resource: [billing, archive] }, 'invalid_target', /single/],
      ['for two audiences', { audience: [billing, archive] }, 'invalid_target', /single/],
      ['for an API and another audience', { resource: billing, audience: archive }, 'invalid_target', /single/],
      [
        'that asks for a refresh token',
        { requested_token_type: 'urn:ietf:params:oauth:token-type:refresh_token' },
        'invalid_request',
        /requested_token_type/,
      ],
      [
        'that asks for an ID token',
        { requested_token_type: 'urn:ietf:params:oauth:token-type:id_token' },
        'invalid_request',
        /requested_token_type/,
      ],
      ['with an actor token of no type', { actor_token: 'x' }, 'invalid_request', /actor_token_type/],
      ['with the type of no actor token', { actor_token_type: ACCESS_TOKEN }, 'invalid_request', /actor_token_type/],
      [
        'with an actor token of another type',
        { actor_token: 'x', actor_token_type: JWT },
        'invalid_request',
        /actor_token_type/,
      ],
      [
        'with an actor token that is none',
        { actor_token: 'x', actor_token_type: ACCESS_TOKEN },
        'invalid_request',
        /actor_token is refused/,
      ],
      [
        'with authorization details',
        { authorization_details: '[{"type":"x"}]' },
        'invalid_request',
        /authorization_details/,
      ],
    ];
    for (const [what, form, error, words] of cases) {
      it(what, async () => refused(await exchange(gatehouse, backend, await tokenOfPerson(), form), error, words));
    }

    it('with the token of another client as its actor’s', async () => {
      const form = { actor_token: await requestToken(gatehouse.url, shop), actor_token_type: ACCESS_TOKEN };
      refused(await exchange(gatehouse, backend, await tokenOfPerson(), form), 'invalid_request', /another client/);
    });

    it('with a token as its actor’s that somebody acts with already', async () => {
      const { body } = await exchange(gatehouse, backend, await tokenOfPerson());
      const form = { actor_token: body.access_token, actor_token_type: ACCESS_TOKEN };
      refused(await exchange(gatehouse, backend, await tokenOfPerson(), form), 'invalid_request', /in person/);
    });

    it('of a client that is not registered for it (TOK-G04)', async () => {
      refused(await exchange(gatehouse, shop, await tokenOfPerson()), 'unauthorized_client', /grant type/);
      refused(await exchange(gatehouse, gatehouse.demo, 'x'), 'unauthorized_client', /grant type/);
    });

    it('of a client without a policy', async () => {
      refused(await exchange(gatehouse, await exchanger(), await tokenOfPerson()), 'unauthorized_client', /policy/);
    });

    it('of a public client, which is not even registered', async () => {
      const { status } = await admin.post('/clients', {
        grant_types: [TOKEN_EXCHANGE],
        token_endpoint_auth_method: 'none',
      });
      assert.equal(status, 400);
    });

    it('of a client that has not proved itself', async () => {
      const { status, body } = await exchange(gatehouse, { ...backend, client_secret: 'wrong' }, await tokenOfPerson());
      assert.deepEqual([status, body.error], [401, 'invalid_client']);
    });
  });

  describe('of a token that is bound to a key (RFC 9449)', () => {
    const bound = async () => {
      const key = await makeProofKey();
      const app = await registerClient(gatehouse, {
        dpop_bound_access_tokens: true,
        resources: [{ resource: orders, scopes: ['orders:read'] }],
      });
      const response = await fetch(`${gatehouse.url}/token`, {
        method: 'POST',
        headers: {
          authorization: `Basic ${Buffer.from(`${app.client_id}:${app.client_secret}`).toString('base64')}`,
          dpop: await prove(key, ['POST', `${gatehouse.issuer}/token`]),
        },
        body: new URLSearchParams({ grant_type: 'client_credentials' }),
      });
      const { access_token: token } = (await response.json()) as { access_token: string };
      return { key, token };
    };
    const proofOf = async (key: Awaited<ReturnType<typeof makeProofKey>>, claims: object = {}) => ({
      dpop: await prove(key, ['POST', `${gatehouse.issuer}/token`], { claims: { ...claims } }),
    });

    it('is for whoever proves that key, and the new token is bound to it', async () => {
      const { key, token } = await bound();
      refused(await exchange(gatehouse, backend, token), 'invalid_request', /bound to a key/);
      const stranger = await proofOf(await makeProofKey(), { ath: athOf(token) });
      refused(await exchange(gatehouse, backend, token, {}, stranger), 'invalid_request', /bound to a key/);
      const answer = await exchange(gatehouse, backend, token, {}, await proofOf(key));
      assert.deepEqual(claimsOf(answer)['cnf'], { jkt: key.thumbprint });
      assert.equal(answer.body['token_type'], 'DPoP');
    });

    it('binds what was not bound before, where the client proves a key', async () => {
      const key = await makeProofKey();
      const answer = await exchange(gatehouse, backend, await tokenOfPerson(), {}, await proofOf(key));
      assert.deepEqual(claimsOf(answer)['cnf'], { jkt: key.thumbprint });
    });

    it('is refused to a client without a proof whose tokens must be bound', async () => {
      const client = await another({}, { dpop_bound_access_tokens: true });
      refused(await exchange(gatehouse, client, await tokenOfPerson()), 'invalid_dpop_proof', /./);
    });
  });

  describe('of an assertion of a trusted issuer', () => {
    let issuer: OutsideIssuer;
    let client: RegisteredClient;
    before(async () => {
      issuer = await makeIssuer(gatehouse.issuer);
      await trust(admin, issuer);
      client = await exchanger();
      await makePolicy(admin, 'exchange-policies', {
        client_id: client.client_id,
        subject_issuer: issuer.issuer,
        subject_account: 'external',
        resource: billing,
        scopes: [{ scope: 'billing:read' }],
        mode: 'delegation',
      });
    });
    const asJwt = { subject_token_type: JWT };

    it('gives a token for a subject that stays outside, and names who acts', async () => {
      const claims = claimsOf(await exchange(gatehouse, client, await issuer.assert(), asJwt));
      assert.deepEqual(claims['sub_id'], { format: 'iss_sub', iss: issuer.issuer, sub: 'user-7' });
      assert.deepEqual(claims['act'], { sub: client.client_id });
    });

    it('is taken whatever its jti is, and leaves a trail that can be written', async () => {
      for (const jti of [undefined, 7, ['\u0000'], { a: '\ud800' }, '\u0000', 'x'.repeat(2_000)]) {
        claimsOf(await exchange(gatehouse, client, await issuer.assert({ claims: { jti } }), asJwt));
      }
    });

    it('honours who may act (RFC 8693, 4.4)', async () => {
      const mine = { sub: client.client_id };
      for (const may_act of [mine, { ...mine, iss: gatehouse.issuer }]) {
        claimsOf(await exchange(gatehouse, client, await issuer.assert({ claims: { may_act } }), asJwt));
      }
      const others = [
        { sub: 'other' },
        {},
        'x',
        null,
        [mine],
        { ...mine, iss: 'https://other.example' },
        { ...mine, client_id: 'x' },
      ];
      for (const may_act of others) {
        const answer = await exchange(gatehouse, client, await issuer.assert({ claims: { may_act } }), asJwt);
        refused(answer, 'invalid_request', /may_act/);
      }
    });

    it('refuses one that is an access token in name, or that somebody acts with already', async () => {
      refused(await exchange(gatehouse, client, await issuer.assert()), 'invalid_request', /not an access token/);
      const acting = await issuer.assert({ claims: { act: { sub: 'x' } } });
      refused(await exchange(gatehouse, client, acting, asJwt), 'invalid_request', /acts/);
    });

    it('refuses an issuer that is trusted for something else', async () => {
      await admin.patch(`/trusted-issuers/${encodeURIComponent(issuer.issuer)}`, { purposes: ['jwt_bearer'] });
      refused(await exchange(gatehouse, client, await issuer.assert(), asJwt), 'invalid_request', /not trusted/);
      await admin.patch(`/trusted-issuers/${encodeURIComponent(issuer.issuer)}`, { purposes: ['token_exchange'] });
    });

    it('keeps saying who the subject is when that token is exchanged again', async () => {
      const archivist = await another({
        subject_resource: billing,
        resource: archive,
        scopes: [{ scope: 'archive:read', from: 'billing:read' }],
      });
      const { body } = await exchange(gatehouse, client, await issuer.assert(), asJwt);
      const claims = claimsOf(await exchange(gatehouse, archivist, body.access_token));
      assert.deepEqual(claims['sub_id'], { format: 'iss_sub', iss: issuer.issuer, sub: 'user-7' });
    });
  });

  it('leaves in the trail whose token was exchanged, by whom and by which policy', async () => {
    const token = await tokenOfPerson();
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
