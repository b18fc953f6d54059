import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { MFA_ACR } from '../../src/base/acr_values.ts';
import { Admin } from '../support/client/admin.ts';
import { registerApplication } from '../support/client/code_flow.ts';
import { addTo, makeRole } from '../support/client/roles.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { registerResource } from '../support/node/operator.ts';
import {
  Authenticator,
  enrolAuthenticator,
  newAccount,
  reachSecondStep,
  readEnrolment,
  type TestAccount,
} from '../support/person/authenticator.ts';
import { Person } from '../support/person/person.ts';

describe('the first factor of an account', () => {
  let gatehouse: Gatehouse;
  let admin: Admin;
  let page: string;
  before(async () => {
    gatehouse = await startGatehouse();
    admin = await Admin.of(gatehouse);
    page = `${gatehouse.issuer}/account/authenticator`;
  });
  after(() => gatehouse.stop());

  /** An account with a scope of this resource through a role. */
  const withScope = async (resource: string, scope: string): Promise<TestAccount> => {
    const account = await newAccount(gatehouse);
    await addTo(admin, await makeRole(admin, resource, scope), account.accountId);
    return account;
  };
  const demandFor = async (resource: string): Promise<void> => {
    const { status, text } = await admin.patch(`/resources/${encodeURIComponent(resource)}`, { required_acr: MFA_ACR });
    assert.equal(status, 200, text);
  };

  const demanded: readonly (readonly [why: string, make: () => Promise<TestAccount>])[] = [
    [
      'a group of the person',
      async () => {
        const account = await newAccount(gatehouse);
        const { body } = await admin.post('/groups', { name: 'Payroll', required_acr: MFA_ACR });
        await addTo(admin, { groupId: String(body['group_id']) }, account.accountId);
        return account;
      },
    ],
    [
      'a resource of which the person has a scope by a role',
      async () => {
        const { resource, scopes } = await registerResource(gatehouse, 'wages');
        const account = await withScope(resource, scopes[0]!);
        await demandFor(resource);
        return account;
      },
    ],
    [
      'the admin API, of which the person has a scope',
      async () => {
        const account = await withScope(gatehouse.admin.resource, 'accounts:read');
        await demandFor(gatehouse.admin.resource);
        return account;
      },
    ],
  ];
  for (const [why, make] of demanded) {
    it(`needs a code of an admin where it is demanded by ${why}`, async () => {
      const account = await make();
      const person = new Person(gatehouse, { account });
      const without = await reachSecondStep(gatehouse, person, page);
      assert.match(without.arrival.page, /Your password alone is not enough for that/);
      assert.equal(without.arrival.page.includes('<dt>Key</dt>'), false);

      const { body } = await admin.post(`/accounts/${account.accountId}/enrolment-code`);
      const { action } = await reachSecondStep(gatehouse, person, page);
      const inside = await person.submit(action, { recovery_code: String(body['code']) });
      const { secret, fields } = readEnrolment(inside.page);
      const done = await person.submit(page, { ...fields, code: new Authenticator(secret).code(-1) });
      assert.match(done.page, /It has been added/);
    });
  }

  it('can’t be added in a session of the password alone that began before the demand', async () => {
    const account = await newAccount(gatehouse);
    const person = new Person(gatehouse, { account });
    const opened = await person.walk(page);
    const { secret, fields } = readEnrolment(opened.page);
    const { body } = await admin.post('/groups', { name: 'Later', required_acr: MFA_ACR });
    await addTo(admin, { groupId: String(body['group_id']) }, account.accountId);
    const refused = await person.submit(page, { ...fields, code: new Authenticator(secret).code(-1) });
    assert.equal(refused.response.status, 403);
  });

  it('is added with the password alone where nothing concerns the account, and a second one with the first', async () => {
    await registerApplication(gatehouse, { required_acr: MFA_ACR });
    const account = await newAccount(gatehouse);
    const authenticator = await enrolAuthenticator(gatehouse, new Person(gatehouse, { account }));
    const person = new Person(gatehouse, { account, code: () => authenticator.code() });
    const { page: shown } = await person.walk(page);
    assert.ok(shown.includes('<dt>Key</dt>'));
  });
});
