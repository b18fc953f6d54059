import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, it } from 'node:test';
import { Admin } from '../support/client/admin.ts';
import { postForm, requestToken, startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { PAYMENT_TYPE } from '../support/client/payments.ts';
import { makePolicy, makeToken, register } from '../support/client/registration.ts';
import { TOKEN_EXCHANGE } from '../support/client/exchanged_tokens.ts';

interface Credentials {
  readonly client_id: string;
  readonly client_secret?: string;
}

/** Clients, registration policies and policies of what may be traded name resources and scopes that are another's to change. */
describe('a holder of a resource', () => {
  let gatehouse: Gatehouse;
  let admin: Admin;
  before(async () => {
    gatehouse = await startGatehouse();
    admin = await Admin.of(gatehouse);
  });
  after(() => gatehouse.stop());

  const scopesOf = (...names: readonly string[]): object[] => names.map((name) => ({ name, description: name }));
  let made = 0;
  let resource: string;
  let path: string;
  beforeEach(async () => {
    resource = `https://api-${++made}.example.com`;
    path = `/resources/${encodeURIComponent(resource)}`;
    const { status } = await admin.post('/resources', { identifier: resource, scopes: scopesOf('c', 'b', 'a') });
    assert.equal(status, 201);
  });

  const leaveOnly = async (...names: readonly string[]): Promise<void> => {
    const { status, text } = await admin.patch(path, { scopes: scopesOf(...names) });
    assert.equal(status, 200, text);
  };
  /** The scopes that a client or a policy has of the resource; `undefined` without it. */
  const heldBy = async (holder: string): Promise<readonly string[] | undefined> => {
    const { body } = await admin.get(holder);
    const all = body['resources'] as readonly { resource: string; scopes: readonly string[] }[];
    return all.find((one) => one.resource === resource)?.scopes;
  };
  const client = async (...scopes: readonly string[]) =>
    (await admin.post('/clients', { resources: [{ resource, scopes }], grant_types: ['client_credentials'] })).body;
  const answer = async ({ client_id, client_secret = '' }: Credentials, scope: string): Promise<number> => {
    const form = { grant_type: 'client_credentials', resource, scope };
    return (await postForm(`${gatehouse.url}/token`, form, { client_id, client_secret })).status;
  };
  const exchangePolicy = async (changed: object): Promise<{ readonly policy_id: string }> => {
    const { body: trader } = await admin.post('/clients', { grant_types: [TOKEN_EXCHANGE] });
    const { status, body, text } = await admin.post('/exchange-policies', {
      client_id: trader.client_id,
      subject_resource: gatehouse.demo.resource,
      mode: 'delegation',
      ...changed,
    });
    assert.equal(status, 201, text);
    return { policy_id: String(body['policy_id']) };
  };

  describe('loses the scopes that it has no longer, and keeps the others', () => {
    it('as a client, that may have asked for one a moment ago', async () => {
      const one = await client('c', 'b', 'a');
      await requestToken(gatehouse.url, one);
      await leaveOnly('a', 'c');
      assert.deepEqual(await heldBy(`/clients/${one.client_id}`), ['c', 'a']);
      assert.deepEqual([await answer(one, 'c a'), await answer(one, 'b')], [200, 400]);
    });

    it('as a client that is left with none: it no longer has the resource', async () => {
      const [all, one] = [await client('c', 'b', 'a'), await client('b')];
      assert.equal(await answer(one, 'b'), 200);
      await leaveOnly('c', 'a');
      await leaveOnly('c', 'b', 'a');
      assert.equal(await heldBy(`/clients/${one.client_id}`), undefined);
      assert.deepEqual(await heldBy(`/clients/${all.client_id}`), ['c', 'a']);
      assert.equal(await answer(one, 'b'), 400);
    });

    it('as a registration policy, and its clients with it', async () => {
      const names = [`narrowed-${made}`, `emptied-${made}`] as const;
      await makePolicy(gatehouse, {
        name: names[0],
        grant_types: ['client_credentials'],
        resources: [{ resource, scopes: ['c', 'b', 'a'] }],
      });
      await makePolicy(gatehouse, { name: names[1], resources: [{ resource, scopes: ['b'] }] });
      const token = (await makeToken(gatehouse, names[0])).initial_access_token;
      const metadata = { grant_types: ['client_credentials'], response_types: [], redirect_uris: undefined };
      const { status, body } = await register(gatehouse, metadata, token);
      assert.equal(status, 201, JSON.stringify(body));
      assert.equal(await answer(body, 'b'), 200);
      await leaveOnly('a', 'c');
      await leaveOnly('a', 'b', 'c');
      assert.deepEqual(await heldBy(`/registration-policies/${names[0]}`), ['c', 'a']);
      assert.equal(await heldBy(`/registration-policies/${names[1]}`), undefined);
      assert.deepEqual([await answer(body, 'c a'), await answer(body, 'b')], [200, 400]);
    });

    it('as a policy of what may be traded, for it or from it', async () => {
      const [demoScope = ''] = gatehouse.demo.scope.split(' ');
      const forIt = await exchangePolicy({
        resource,
        scopes: ['a', 'b', 'c'].map((scope) => ({ scope, from: demoScope })),
      });
      const fromIt = await exchangePolicy({
        subject_resource: resource,
        resource: gatehouse.demo.resource,
        scopes: ['a', 'b', 'c'].map((from) => ({ scope: demoScope, from })),
      });
      await leaveOnly('a', 'c');
      const rules = async ({ policy_id }: { policy_id: string }): Promise<unknown> =>
        (await admin.get(`/exchange-policies/${policy_id}`)).body['scopes'];
      assert.deepEqual(
        await rules(forIt),
        ['a', 'c'].map((scope) => ({ scope, from: demoScope })),
      );
      assert.deepEqual(
        await rules(fromIt),
        ['a', 'c'].map((from) => ({ scope: demoScope, from })),
      );
    });
  });

  describe('keeps it from being deleted, and is named', () => {
    /** Returns the refusal's text; then ends the reference, and expects the deletion to succeed. */
    const refusal = async (letGo: () => Promise<{ readonly status: number }>): Promise<string> => {
      const { status, body } = await admin.delete(path);
      assert.equal(status, 409);
      assert.ok((await letGo()).status < 300);
      assert.equal((await admin.delete(path)).status, 204);
      return body.detail;
    };

    it('as a client', async () => {
      const { client_id } = await client('a');
      const said = await refusal(() => admin.patch(`/clients/${client_id}`, { resources: [] }));
      assert.equal(said, `Clients may still request ${resource} (${client_id}); remove it from them first.`);
    });

    for (const [how, member] of [
      ['for it', 'resource'],
      ['from it', 'subject_resource'],
    ] as const) {
      it(`as a policy of what may be traded ${how}`, async () => {
        const scopes = [
          member === 'resource'
            ? { scope: 'a', from: gatehouse.demo.scope.split(' ')[0] }
            : { scope: gatehouse.demo.scope.split(' ')[0], from: 'a' },
        ];
        const { policy_id } = await exchangePolicy({ resource: gatehouse.demo.resource, scopes, [member]: resource });
        const said = await refusal(() => admin.delete(`/exchange-policies/${policy_id}`));
        assert.equal(said, `Policies still use ${resource} (${policy_id}); delete them first.`);
      });
    }

    it('as a type of authorization details', async () => {
      const type = `payment-${made}`;
      const { status } = await admin.post('/authorization-details-types', {
        ...PAYMENT_TYPE,
        type,
        resources: [resource],
      });
      assert.equal(status, 201);
      const said = await refusal(() => admin.delete(`/authorization-details-types/${type}`));
      assert.equal(said, `Types of authorization details still use ${resource} (${type}); remove it from them first.`);
    });

    it('as a registration policy', async () => {
      const name = `giving-${made}`;
      await makePolicy(gatehouse, { name, resources: [{ resource, scopes: ['a'] }] });
      const said = await refusal(() => admin.delete(`/registration-policies/${name}`));
      assert.equal(said, `Registration policies still include ${resource} (${name}); remove it from them first.`);
    });
  });
});
