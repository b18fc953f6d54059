import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Admin } from '../support/client/admin.ts';
import { signIn } from '../support/client/code_flow.ts';
import { archive, billing, ExchangeScene, orders, refused } from '../support/client/exchange_parties.ts';
import { requestToken, type Gatehouse } from '../support/node/gatehouse.ts';
import type { RegisteredClient } from '../support/node/operator.ts';
import { makeIssuer } from '../support/network/outside_issuer.ts';
import { ACCESS_TOKEN, exchange, JWT, TOKEN_EXCHANGE, type Form } from '../support/client/exchanged_tokens.ts';

describe('token exchange', () => {
  let scene: ExchangeScene;
  let gatehouse: Gatehouse;
  let admin: Admin;
  let shop: RegisteredClient;
  /** The orders API, which calls the billing API on behalf of people. */
  let backend: RegisteredClient;
  before(async () => {
    scene = await ExchangeScene.open();
    ({ gatehouse, admin, shop } = scene);
    backend = await scene.another();
  });
  after(() => scene.stop());

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
      ['one without its signature', async () => (await scene.tokenOfPerson()).split('.').slice(0, 2).join('.') + '.'],
      ['one whose signature was changed', async () => `${(await scene.tokenOfPerson()).slice(0, -6)}AAAAAA`],
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
      it(what, async () =>
        refused(await exchange(gatehouse, backend, await scene.tokenOfPerson(), form), error, words),
      );
    }

    it('with the token of another client as its actor’s', async () => {
      const form = { actor_token: await requestToken(gatehouse.url, shop), actor_token_type: ACCESS_TOKEN };
      refused(
        await exchange(gatehouse, backend, await scene.tokenOfPerson(), form),
        'invalid_request',
        /another client/,
      );
    });

    it('with a token as its actor’s that already has an actor', async () => {
      const { body } = await exchange(gatehouse, backend, await scene.tokenOfPerson());
      const form = { actor_token: body.access_token, actor_token_type: ACCESS_TOKEN };
      refused(
        await exchange(gatehouse, backend, await scene.tokenOfPerson(), form),
        'invalid_request',
        /not have been exchanged itself/,
      );
    });

    it('of a client that is not registered for it (TOK-G04)', async () => {
      refused(await exchange(gatehouse, shop, await scene.tokenOfPerson()), 'unauthorized_client', /grant type/);
      refused(await exchange(gatehouse, gatehouse.demo, 'x'), 'unauthorized_client', /grant type/);
    });

    it('of a client without a policy', async () => {
      refused(
        await exchange(gatehouse, await scene.exchanger(), await scene.tokenOfPerson()),
        'unauthorized_client',
        /policy/,
      );
    });

    it('of a public client, which is not even registered', async () => {
      const { status } = await admin.post('/clients', {
        grant_types: [TOKEN_EXCHANGE],
        token_endpoint_auth_method: 'none',
      });
      assert.equal(status, 400);
    });

    it('of a client that has not proved itself', async () => {
      const { status, body } = await exchange(
        gatehouse,
        { ...backend, client_secret: 'wrong' },
        await scene.tokenOfPerson(),
      );
      assert.deepEqual([status, body.error], [401, 'invalid_client']);
    });
  });
});
