import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import * as openid from 'openid-client';
import { Admin } from '../support/client/admin.ts';
import { configure } from '../support/client/code_flow.ts';
import { makeProofKey, prove } from '../support/client/dpop.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { registerClient, registerResource, type RegisteredClient } from '../support/node/operator.ts';
import { makeIssuer, trust, type OutsideIssuer } from '../support/network/outside_issuer.ts';
import {
  claimsOf,
  exchange,
  introspect,
  JWT_BEARER,
  makePolicy,
  present,
  type Form,
  type TokenAnswer,
} from '../support/client/exchanged_tokens.ts';

describe('the JWT bearer grant (RFC 7523, 2.1)', () => {
  let gatehouse: Gatehouse;
  let second: Gatehouse;
  let admin: Admin;
  let issuer: OutsideIssuer;
  let client: RegisteredClient;
  let policyId: string;
  const resource = 'https://reports.example.com';
  before(async () => {
    gatehouse = await startGatehouse();
    second = await startGatehouse({ beside: gatehouse });
    admin = await Admin.of(gatehouse);
    issuer = await makeIssuer(gatehouse.issuer);
    await trust(admin, issuer);
    await registerResource(gatehouse, 'reports');
    client = await registerClient(gatehouse, { grant_types: [JWT_BEARER], resources: [] });
    policyId = await allow({});
  });
  after(async () => {
    await second.stop();
    await gatehouse.stop();
  });

  const allow = (changed: Readonly<Record<string, unknown>>): Promise<string> =>
    makePolicy(admin, 'assertion-policies', {
      client_id: client.client_id,
      issuer: issuer.issuer,
      subject_account: 'external',
      resource,
      scopes: ['reports:read'],
      ...changed,
    });
  /** A client with a policy of its own. */
  const another = async (
    changed: Readonly<Record<string, unknown>>,
    metadata: Readonly<Record<string, unknown>> = {},
  ): Promise<RegisteredClient> => {
    const made = await registerClient(gatehouse, { grant_types: [JWT_BEARER], resources: [], ...metadata });
    await allow({ client_id: made.client_id, ...changed });
    return made;
  };
  const refused = (answer: TokenAnswer, error: string, words: RegExp): void => {
    assert.deepEqual([answer.status, answer.body.error], [400, error], JSON.stringify(answer.body));
    assert.match(String(answer.body.error_description), words);
    assert.equal(answer.body.access_token, undefined);
  };
  const events = (event: string) =>
    gatehouse.database
      .selectFrom('audit_events')
      .select(['outcome', 'client_id', 'account_id', 'details'])
      .where('event', '=', event)
      .orderBy('occurred_at', 'desc')
      .execute();

  it('gives a client a token for an assertion, as openid-client asks for it', async () => {
    const config = await configure(gatehouse, client);
    const assertion = await issuer.assert();
    const tokens = await openid.genericGrantRequest(config, JWT_BEARER, { assertion, scope: 'reports:read', resource });
    assert.equal(tokens.token_type, 'bearer');
    assert.deepEqual([tokens.expires_in, tokens.scope], [300, 'reports:read']);
    assert.deepEqual([tokens.refresh_token, tokens.id_token], [undefined, undefined]);
    const claims = claimsOf({ status: 200, body: { access_token: tokens.access_token } });
    assert.equal(claims['aud'], resource);
    assert.equal(claims['client_id'], client.client_id);
    assert.match(String(claims['sub']), /^external_/);
    assert.deepEqual(claims['sub_id'], { format: 'iss_sub', iss: issuer.issuer, sub: 'user-7' });
    assert.equal('act' in claims, false);
  });

  it('takes an assertion whose typ is written in any case (FIELD-C11)', async () => {
    for (const typ of ['JWT', 'jwt', 'Application/jwt']) {
      const { status, body } = await present(gatehouse, client, await issuer.assert({ header: { typ } }));
      assert.equal(status, 200, `${typ}: ${body.error_description}`);
    }
    for (const typ of ['AT+JWT', 'Application/Logout+JWT'])
      refused(await present(gatehouse, client, await issuer.assert({ header: { typ } })), 'invalid_grant', /typ/);
  });

  it('is in force on every node, and says what it said to an API that introspects', async () => {
    const { body } = await present(second, client, await issuer.assert());
    const told = await introspect(gatehouse, client, body.access_token);
    assert.deepEqual([told['active'], told['scope'], told['aud']], [true, 'reports:read', resource]);
    assert.deepEqual(told['sub_id'], { format: 'iss_sub', iss: issuer.issuer, sub: 'user-7' });
    assert.deepEqual([told['gen'], told['asserted_by']], [undefined, undefined]);
  });

  it('leaves in the trail on whose word a token was given, and by which policy', async () => {
    const jti = randomUUID();
    const claims = claimsOf(await present(gatehouse, client, await issuer.assert({ claims: { jti } })));
    const issued = (await events('token.issued')).find(({ details }) => details['jti'] === claims['jti']);
    assert.equal(issued?.client_id, client.client_id);
    const { grant_type, policy_id, subject, issuer: by, from_jti } = issued?.details ?? {};
    assert.deepEqual(
      [grant_type, policy_id, subject, by, from_jti],
      [JWT_BEARER, policyId, 'user-7', issuer.issuer, jti],
    );
  });

  it('gives the same outside subject the same name, and two issuers’ subjects never one', async () => {
    const sub = async (from: OutsideIssuer, name: string): Promise<unknown> =>
      claimsOf(await present(gatehouse, client, await from.assert({ claims: { sub: name } })))['sub'];
    const stranger = await makeIssuer(gatehouse.issuer);
    await trust(admin, stranger);
    await allow({ issuer: stranger.issuer });
    assert.equal(await sub(issuer, 'a'), await sub(issuer, 'a'));
    assert.notEqual(await sub(issuer, 'a'), await sub(issuer, 'b'));
    assert.notEqual(await sub(issuer, 'a'), await sub(stranger, 'a'));
    // an outside subject can not take the name of an account or a client
    assert.notEqual(await sub(issuer, client.client_id), client.client_id);
  });

  it('gives a token that ends with its assertion, and no later than policy and resource say', async () => {
    const short = await issuer.assert({ claims: { exp: Math.floor(Date.now() / 1000) + 60 } });
    const { exp, iat } = claimsOf(await present(gatehouse, client, short)) as { exp: number; iat: number };
    assert.ok(exp - iat <= 60, `${exp - iat} s`);
    const strict = await another({ max_ttl_seconds: 30 });
    const { body } = await present(gatehouse, strict, await issuer.assert());
    assert.equal(body['expires_in'], 30);
  });

  describe('takes an assertion once', () => {
    it('on this node', async () => {
      const assertion = await issuer.assert();
      claimsOf(await present(gatehouse, client, assertion));
      refused(await present(gatehouse, client, assertion), 'invalid_grant', /already used/);
      const [replayed] = await events('assertion.replayed');
      assert.equal(replayed?.client_id, client.client_id);
    });

    it('of ten requests at once on two nodes', async () => {
      const assertion = await issuer.assert();
      const answers = await Promise.all(
        Array.from({ length: 10 }, (_, index) => present(index % 2 === 0 ? gatehouse : second, client, assertion)),
      );
      assert.equal(answers.filter(({ status }) => status === 200).length, 1);
      for (const answer of answers.filter(({ status }) => status !== 200)) refused(answer, 'invalid_grant', /used/);
    });

    it('from any client', async () => {
      const assertion = await issuer.assert();
      claimsOf(await present(gatehouse, await another({}), assertion));
      refused(await present(second, client, assertion), 'invalid_grant', /already used/);
    });

    it('and does not use it up for a request that is refused', async () => {
      const assertion = await issuer.assert();
      refused(await present(gatehouse, client, assertion, { scope: 'reports:write' }), 'invalid_scope', /scope/);
      claimsOf(await present(gatehouse, client, assertion));
    });
  });

  describe('refuses', () => {
    const cases: readonly [what: string, form: Form, error: string, words: RegExp][] = [
      ['a request without an assertion', { assertion: undefined }, 'invalid_request', /assertion/],
      ['an empty assertion', { assertion: '' }, 'invalid_request', /assertion/],
      ['two assertions', { assertion: ['a', 'b'] }, 'invalid_request', /twice/],
      ['two scopes parameters', { scope: ['reports:read', 'reports:read'] }, 'invalid_request', /twice/],
      ['a scope that no policy names', { scope: 'reports:read reports:write' }, 'invalid_scope', /scope/],
      ['a scope of OpenID Connect', { scope: 'openid' }, 'invalid_scope', /scope/],
      ['a resource that no policy names', { resource: 'https://other.example' }, 'invalid_target', /resource/],
      ['two resources', { resource: [resource, 'https://other.example'] }, 'invalid_target', /single/],
      ['the admin API', { resource: 'ADMIN' }, 'invalid_target', /resource/],
      ['authorization details', { authorization_details: '[]' }, 'invalid_request', /authorization_details/],
    ];
    for (const [what, form, error, words] of cases) {
      it(what, async () => {
        const filled = { ...form, ...(form['resource'] === 'ADMIN' && { resource: gatehouse.admin.resource }) };
        const assertion = 'assertion' in form ? {} : { assertion: await issuer.assert() };
        refused(await present(gatehouse, client, '', { ...assertion, ...filled }), error, words);
      });
    }

    it('a client that is not registered for it', async () => {
      const answer = await present(gatehouse, gatehouse.demo, await issuer.assert());
      refused(answer, 'unauthorized_client', /grant type/);
    });

    it('a client without a policy', async () => {
      const without = await registerClient(gatehouse, { grant_types: [JWT_BEARER] });
      refused(await present(gatehouse, without, await issuer.assert()), 'unauthorized_client', /policy/);
    });

    it('an issuer that is trusted, but not for this client', async () => {
      const stranger = await makeIssuer(gatehouse.issuer);
      await trust(admin, stranger);
      refused(await present(gatehouse, client, await stranger.assert()), 'invalid_grant', /policy/);
    });

    it('a client that has not proved itself', async () => {
      const { status, body } = await present(gatehouse, { ...client, client_secret: 'wrong' }, await issuer.assert());
      assert.deepEqual([status, body.error], [401, 'invalid_client']);
    });

    it('a public client, which is not even registered', async () => {
      const { status, body } = await admin.post('/clients', {
        grant_types: [JWT_BEARER],
        token_endpoint_auth_method: 'none',
      });
      assert.equal(status, 400);
      assert.deepEqual(
        body.errors.map(({ pointer }) => pointer),
        ['/grant_types'],
      );
    });

    it('a subject that the policy does not name', async () => {
      const chosen = await another({ subjects: ['user-8'] });
      refused(await present(gatehouse, chosen, await issuer.assert()), 'invalid_grant', /subject/);
      claimsOf(await present(gatehouse, chosen, await issuer.assert({ claims: { sub: 'user-8' } })));
    });

    it('everything from the moment on when its policy is deleted, on every node', async () => {
      const made = await registerClient(gatehouse, { grant_types: [JWT_BEARER], resources: [] });
      const id = await allow({ client_id: made.client_id });
      claimsOf(await present(second, made, await issuer.assert()));
      assert.equal((await admin.delete(`/assertion-policies/${id}`)).status, 204);
      refused(await present(second, made, await issuer.assert()), 'unauthorized_client', /policy/);
    });
  });

  describe('with DPoP (RFC 9449)', () => {
    it('binds the token to the key that was proved', async () => {
      const key = await makeProofKey();
      const proof = await prove(key, ['POST', `${gatehouse.issuer}/token`]);
      const answer = await present(gatehouse, client, await issuer.assert(), {}, { dpop: proof });
      assert.deepEqual(claimsOf(answer)['cnf'], { jkt: key.thumbprint });
      assert.equal(answer.body['token_type'], 'DPoP');
    });

    it('refuses a client without a proof whose tokens must be bound', async () => {
      const bound = await another({}, { dpop_bound_access_tokens: true });
      refused(await present(gatehouse, bound, await issuer.assert()), 'invalid_dpop_proof', /./);
    });

    it('refuses a proof that was used already, on the other node too', async () => {
      const proof = await prove(await makeProofKey(), ['POST', `${gatehouse.issuer}/token`]);
      claimsOf(await present(gatehouse, client, await issuer.assert(), {}, { dpop: proof }));
      const again = await present(second, client, await issuer.assert(), {}, { dpop: proof });
      refused(again, 'invalid_dpop_proof', /./);
    });

    it('takes an assertion that is bound to a key only with a proof of that key', async () => {
      const key = await makeProofKey();
      const claims = { cnf: { jkt: key.thumbprint } };
      const proofOf = async (of = key) => ({ dpop: await prove(of, ['POST', `${gatehouse.issuer}/token`]) });
      refused(await present(gatehouse, client, await issuer.assert({ claims })), 'invalid_grant', /bound to a key/);
      const other = await proofOf(await makeProofKey());
      const wrong = await present(gatehouse, client, await issuer.assert({ claims }), {}, other);
      refused(wrong, 'invalid_grant', /bound to a key/);
      claimsOf(await present(gatehouse, client, await issuer.assert({ claims }), {}, await proofOf()));
    });
  });

  it('gives a token that is no subject token for what no policy names', async () => {
    const { body } = await present(gatehouse, client, await issuer.assert());
    const answer = await exchange(gatehouse, client, body.access_token);
    refused(answer, 'unauthorized_client', /grant type/);
  });
});
