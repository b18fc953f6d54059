import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Admin } from '../support/client/admin.ts';
import { askRaw, registerTill } from '../support/client/backchannel.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { makePolicy, register } from '../support/client/registration.ts';

const JOINED = 'علی\u200cرضا';
const OVERRIDE = 'Ada\u202eadA';

/** Each text of the API that people write and read. */
describe('a name with zero-width joiners', () => {
  let gatehouse: Gatehouse;
  let admin: Admin;
  let accountId: string;
  before(async () => {
    gatehouse = await startGatehouse();
    admin = await Admin.of(gatehouse);
    accountId = (await admin.post('/accounts', { email: 'named@example.com' })).body.account_id;
    await makePolicy(gatehouse, { name: 'open', open_registration: true });
  });
  after(() => gatehouse.stop());

  type Send = (text: string) => Promise<{ readonly status: number; readonly body: unknown }>;
  const inAccount =
    (members: (text: string) => object): Send =>
    (text) =>
      admin.patch(`/accounts/${accountId}`, members(text));
  const detailsType = (members: (text: string) => object): Send => {
    let made = 0;
    return (text) =>
      admin.post('/authorization-details-types', {
        type: `t${made++}${Math.random().toString(36).slice(2)}`,
        title: 'Pay',
        schema: { type: 'object', properties: {} },
        resources: [gatehouse.demo.resource],
        ...members(text),
      });
  };
  const texts: Readonly<Record<string, Send>> = {
    'a person': inAccount((name) => ({ name })),
    'a given name': inAccount((given_name) => ({ given_name })),
    'a nickname': inAccount((nickname) => ({ nickname })),
    'a town': inAccount((locality) => ({ address: { locality } })),
    'a postal address of two lines': inAccount((text) => ({ address: { formatted: `${text}\n${text}` } })),
    'an application that an admin makes': (client_name) =>
      admin.post('/clients', { client_name, grant_types: ['client_credentials'] }),
    'an application that registers itself': (client_name) => register(gatehouse, { client_name }),
    'a kind of request': detailsType((title) => ({ title })),
    'a member of a kind of request': detailsType((text) => ({
      schema: { type: 'object', properties: { [text]: { type: 'string' } } },
    })),
    'a reason for the audit trail': async (reason) => {
      const { body } = await admin.post('/clients', { client_name: 'x', grant_types: ['client_credentials'] });
      return admin.post(`/clients/${body.client_id}/revoke`, { reason });
    },
    'a message beside a request to approve': async (binding_message) => {
      const till = await registerTill(gatehouse);
      return askRaw(gatehouse, till, {
        scope: 'openid',
        login_hint: gatehouse.account.email,
        binding_message,
      });
    },
  };
  for (const [what, send] of Object.entries(texts)) {
    it(`is taken for ${what}, and a direction override is not (FIELD-D1)`, async () => {
      const taken = await send(JOINED);
      assert.ok(taken.status < 300, JSON.stringify(taken.body));
      const refused = await send(OVERRIDE);
      assert.equal(refused.status, 400, JSON.stringify(refused.body));
    });
  }

  it('comes back as it was given (FIELD-D1)', async () => {
    const { body } = await admin.patch(`/accounts/${accountId}`, { name: JOINED, family_name: 'ශ්\u200dරී' });
    assert.deepEqual([body['name'], body['family_name']], [JOINED, 'ශ්\u200dරී']);
  });
});
