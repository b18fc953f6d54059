import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Admin } from '../support/client/admin.ts';
import { athOf, makeProofKey, prove } from '../support/client/dpop.ts';
import { archive, billing, ExchangeScene, orders, refused } from '../support/client/exchange_parties.ts';
import type { Gatehouse } from '../support/node/gatehouse.ts';
import { registerClient, type RegisteredClient } from '../support/node/operator.ts';
import { makeIssuer, trust, type OutsideIssuer } from '../support/network/outside_issuer.ts';
import { claimsOf, exchange, JWT, makePolicy } from '../support/client/exchanged_tokens.ts';

describe('the exchange', () => {
  let scene: ExchangeScene;
  let gatehouse: Gatehouse;
  let admin: Admin;
  /** The orders API, which calls the billing API on behalf of people. */
  let backend: RegisteredClient;
  before(async () => {
    scene = await ExchangeScene.open();
    ({ gatehouse, admin } = scene);
    backend = await scene.another();
  });
  after(() => scene.stop());

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

    it('is for the client that proves that key, and the new token is bound to it', async () => {
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
      const answer = await exchange(gatehouse, backend, await scene.tokenOfPerson(), {}, await proofOf(key));
      assert.deepEqual(claimsOf(answer)['cnf'], { jkt: key.thumbprint });
    });

    it('is refused to a client without a proof whose tokens must be bound', async () => {
      const client = await scene.another({}, { dpop_bound_access_tokens: true });
      refused(await exchange(gatehouse, client, await scene.tokenOfPerson()), 'invalid_dpop_proof', /./);
    });
  });

  describe('of an assertion of a trusted issuer', () => {
    let issuer: OutsideIssuer;
    let client: RegisteredClient;
    before(async () => {
      issuer = await makeIssuer(gatehouse.issuer);
      await trust(admin, issuer);
      client = await scene.exchanger();
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

    it('is taken with any jti, and leaves a trail that can be written', async () => {
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

    it('refuses one that is an access token in name, or that already has an actor', async () => {
      refused(
        await exchange(gatehouse, client, await issuer.assert()),
        'invalid_request',
        /must be a valid access token/,
      );
      const acting = await issuer.assert({ claims: { act: { sub: 'x' } } });
      refused(await exchange(gatehouse, client, acting, asJwt), 'invalid_request', /must not have an act claim/);
    });

    it('refuses an issuer that is trusted for something else', async () => {
      await admin.patch(`/trusted-issuers/${encodeURIComponent(issuer.issuer)}`, { purposes: ['jwt_bearer'] });
      refused(await exchange(gatehouse, client, await issuer.assert(), asJwt), 'invalid_request', /not trusted/);
      await admin.patch(`/trusted-issuers/${encodeURIComponent(issuer.issuer)}`, { purposes: ['token_exchange'] });
    });

    it('keeps saying who the subject is when that token is exchanged again', async () => {
      const archivist = await scene.another({
        subject_resource: billing,
        resource: archive,
        scopes: [{ scope: 'archive:read', from: 'billing:read' }],
      });
      const { body } = await exchange(gatehouse, client, await issuer.assert(), asJwt);
      const claims = claimsOf(await exchange(gatehouse, archivist, body.access_token));
      assert.deepEqual(claims['sub_id'], { format: 'iss_sub', iss: issuer.issuer, sub: 'user-7' });
    });
  });
});
