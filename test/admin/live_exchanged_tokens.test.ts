import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { decodeJwt } from 'jose';
import { registerApplication, signIn } from '../support/client/code_flow.ts';
import { archive, billing, ExchangeScene } from '../support/client/exchange_parties.ts';
import {
  ACCESS_TOKEN,
  exchange,
  introspect,
  JWT_BEARER,
  makePolicy,
  present,
  TOKEN_EXCHANGE,
} from '../support/client/exchanged_tokens.ts';
import { makeIssuer, trust } from '../support/network/outside_issuer.ts';
import { postForm, requestToken } from '../support/node/gatehouse.ts';
import { eventually, type RegisteredClient } from '../support/node/operator.ts';

describe('the list of live tokens of a client has no exchanged token', () => {
  let scene: ExchangeScene;
  before(async () => {
    scene = await ExchangeScene.open();
  });
  after(() => scene.stop());

  const listed = async ({ client_id }: RegisteredClient, token: string): Promise<boolean> => {
    const { status, body, text } = await scene.admin.get(`/clients/${client_id}/tokens`);
    assert.equal(status, 200, text);
    return body.items.some(({ jti }) => jti === decodeJwt(token).jti);
  };
  /** Asserts that the token was listed as long as it was active, and is not afterwards. */
  const endsWith = async (client: RegisteredClient, token: string, end: () => Promise<unknown>): Promise<void> => {
    const isActive = async () => (await introspect(scene.gatehouse, client, token))['active'];
    assert.deepEqual([await isActive(), await listed(client, token)], [true, true]);
    await end();
    await eventually(async () => (await isActive()) === false);
    assert.equal(await listed(client, token), false);
  };

  /** A person's token for orders, exchanged for one for billing, and that for one for the archive. */
  const chain = async () => {
    const [backend, archivist] = [await scene.another(), await scene.exchanger()];
    await scene.allow(archivist, {
      subject_resource: billing,
      resource: archive,
      scopes: [{ scope: 'archive:read', from: 'billing:read' }],
    });
    const first = await scene.tokenOfPerson();
    const middle = (await exchange(scene.gatehouse, backend, first)).body.access_token;
    const last = (await exchange(scene.gatehouse, archivist, middle)).body.access_token;
    return { backend, archivist, first, middle, last };
  };
  const revoke = (client: RegisteredClient, token: string) =>
    postForm(`${scene.gatehouse.url}/revoke`, { token }, client);

  it('whose grant has ended (FIELD-E3)', async () => {
    const { backend, archivist, first, middle, last } = await chain();
    const { sub, gid } = decodeJwt(first);
    const { items } = (await scene.admin.get(`/clients/${backend.client_id}/tokens`)).body;
    assert.deepEqual(
      items.map(({ grant_id }) => grant_id),
      [gid],
    );
    const path = `/accounts/${String(sub)}/grants/${String(gid)}`;
    await endsWith(archivist, last, () => scene.admin.delete(path));
    assert.equal(await listed(backend, middle), false);
  });

  it('that was made from a revoked one (FIELD-E3)', async () => {
    const { archivist, first, last } = await chain();
    await endsWith(archivist, last, () => revoke(scene.shop, first));
  });

  it('that was made from one of a revoked client (FIELD-E3)', async () => {
    const { backend, archivist, last } = await chain();
    await endsWith(archivist, last, () =>
      scene.admin.post(`/clients/${backend.client_id}/revoke`, { reason: 'stolen' }),
    );
  });

  it('whose actor token was revoked (FIELD-E3)', async () => {
    const backend = await scene.another();
    const resources = [{ resource: archive, scopes: ['archive:read'] }];
    await scene.admin.patch(`/clients/${backend.client_id}`, { resources });
    const actor_token = await requestToken(scene.gatehouse.url, backend);
    const form = { actor_token, actor_token_type: ACCESS_TOKEN };
    const { body } = await exchange(scene.gatehouse, backend, await scene.tokenOfPerson(), form);
    await endsWith(backend, body.access_token, () => revoke(backend, actor_token));
  });

  it('whose actor’s grant has ended (FIELD-E3)', async () => {
    const backend = await registerApplication(scene.gatehouse, {
      grant_types: [TOKEN_EXCHANGE, 'authorization_code'],
      resources: [{ resource: archive, scopes: ['archive:read'] }],
    });
    await scene.allow(backend);
    const { tokens } = await signIn(scene.gatehouse, backend, { scope: 'archive:read' });
    const form = { actor_token: tokens.access_token, actor_token_type: ACCESS_TOKEN };
    const { body } = await exchange(scene.gatehouse, backend, await scene.tokenOfPerson(), form);
    const { sub, gid } = decodeJwt(tokens.access_token);
    await endsWith(backend, body.access_token, () =>
      scene.admin.delete(`/accounts/${String(sub)}/grants/${String(gid)}`),
    );
  });

  it('that rests on an issuer which is trusted no more (FIELD-E3)', async () => {
    const outside = await makeIssuer(scene.gatehouse.issuer);
    await trust(scene.admin, outside);
    const backend = await scene.exchanger({ grant_types: [TOKEN_EXCHANGE, JWT_BEARER] });
    await makePolicy(scene.admin, 'assertion-policies', {
      client_id: backend.client_id,
      issuer: outside.issuer,
      subject_account: 'external',
      resource: archive,
      scopes: ['archive:read'],
    });
    await scene.allow(backend, {
      subject_resource: archive,
      scopes: [{ scope: 'billing:read', from: 'archive:read' }],
    });
    const asserted = (await present(scene.gatehouse, backend, await outside.assert())).body.access_token;
    const exchanged = (await exchange(scene.gatehouse, backend, asserted)).body.access_token;
    await endsWith(backend, exchanged, () =>
      scene.admin.patch(`/trusted-issuers/${encodeURIComponent(outside.issuer)}`, { disabled: true }),
    );
    assert.equal(await listed(backend, asserted), false);
  });
});
