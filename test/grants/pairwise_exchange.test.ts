import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { decodeJwt } from 'jose';
import { archive, billing, ExchangeScene, orders } from '../support/client/exchange_parties.ts';
import { claimsOf, exchange, introspect, JWT, makePolicy, TOKEN_EXCHANGE } from '../support/client/exchanged_tokens.ts';
import { registerApplication, signIn } from '../support/client/code_flow.ts';
import { makeIssuer, trust } from '../support/network/outside_issuer.ts';
import type { RegisteredClient } from '../support/node/operator.ts';
import { requestToken } from '../support/node/gatehouse.ts';

const PAIRWISE = { subject_type: 'pairwise' };

describe('the subject of an exchanged token', () => {
  let scene: ExchangeScene;
  let accountId: string;
  before(async () => {
    scene = await ExchangeScene.open();
    accountId = (await scene.admin.get('/accounts')).body.items[0]!.account_id;
  });
  after(() => scene.stop());

  /** A client that people log in to, which also exchanges tokens of the orders API. */
  const trader = async (metadata: Readonly<Record<string, unknown>> = {}): Promise<RegisteredClient> => {
    const client = await registerApplication(scene.gatehouse, {
      grant_types: ['authorization_code', TOKEN_EXCHANGE, 'client_credentials'],
      resources: [{ resource: orders, scopes: ['orders:read'] }],
      ...metadata,
    });
    await scene.allow(client);
    return client;
  };
  /** What the client calls the person, and a token for orders. */
  const logIn = async (client: RegisteredClient) => {
    const how = { scope: 'openid orders:read', parameters: { resource: orders } };
    const { tokens } = await signIn(scene.gatehouse, client, how);
    return { sub: tokens.claims()!.sub, token: tokens.access_token };
  };
  const lastIssued = async (client: RegisteredClient) => {
    const { body } = await scene.admin.get(`/audit-events?client_id=${client.client_id}&event=token.issued&limit=1`);
    return body.items[0]!;
  };

  it('is the one that a pairwise client knows, and the token is filed under the account (FIELD-E2)', async () => {
    const client = await trader(PAIRWISE);
    const { sub, token } = await logIn(client);
    assert.notEqual(sub, accountId);
    const answer = await exchange(scene.gatehouse, client, token);
    assert.equal(claimsOf(answer)['sub'], sub);
    const event = await lastIssued(client);
    assert.equal(event['account_id'], accountId);
    assert.equal((event['details'] as { from_jti: string }).from_jti, decodeJwt(token).jti);
    const { items } = (await scene.admin.get(`/clients/${client.client_id}/tokens`)).body;
    assert.ok(items.every(({ account_id }) => account_id === accountId));
  });

  it('is the one that the exchanging client knows, whatever the client before calls the person (FIELD-E2)', async () => {
    const [first, open] = [await trader(PAIRWISE), await trader()];
    const { sub, token } = await logIn(first);
    assert.equal(claimsOf(await exchange(scene.gatehouse, open, token))['sub'], accountId);
    const { sub: known } = await logIn(open);
    assert.equal(known, accountId);
    const ofOpen = (await logIn(open)).token;
    assert.equal(claimsOf(await exchange(scene.gatehouse, first, ofOpen))['sub'], sub);
  });

  it('stays the same in a chain of exchanges (FIELD-E2)', async () => {
    const client = await trader(PAIRWISE);
    await makePolicy(scene.admin, 'exchange-policies', {
      client_id: client.client_id,
      subject_resource: billing,
      resource: archive,
      scopes: [{ scope: 'archive:read', from: 'billing:read' }],
      mode: 'impersonation',
    });
    const { sub, token } = await logIn(client);
    const middle = await exchange(scene.gatehouse, client, token);
    const last = await exchange(scene.gatehouse, client, middle.body.access_token);
    assert.deepEqual([claimsOf(middle)['sub'], claimsOf(last)['sub']], [sub, sub]);
    assert.equal((await introspect(scene.gatehouse, client, last.body.access_token))['active'], true);
    assert.equal((await lastIssued(client))['account_id'], accountId);
  });

  it('without an account is the same for a pairwise client as for others (FIELD-E2)', async () => {
    const client = await trader(PAIRWISE);
    const machine = await trader();
    const token = await requestToken(scene.gatehouse.url, machine, 'orders:read');
    const answer = await exchange(scene.gatehouse, client, token);
    assert.equal(claimsOf(answer)['sub'], machine.client_id);

    const issuer = await makeIssuer(scene.gatehouse.issuer);
    await trust(scene.admin, issuer);
    const subjects: unknown[] = [];
    for (const metadata of [PAIRWISE, {}]) {
      const its = await trader(metadata);
      await makePolicy(scene.admin, 'exchange-policies', {
        client_id: its.client_id,
        subject_issuer: issuer.issuer,
        subject_account: 'external',
        resource: billing,
        scopes: [{ scope: 'billing:read' }],
        mode: 'delegation',
      });
      const form = { subject_token_type: JWT };
      const outside = await issuer.assert();
      subjects.push(claimsOf(await exchange(scene.gatehouse, its, outside, form))['sub']);
    }
    assert.equal(subjects[0], subjects[1]);
  });
});
