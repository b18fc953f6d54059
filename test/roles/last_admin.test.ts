import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Admin } from '../support/client/admin.ts';
import { registerApplication, signIn } from '../support/client/code_flow.ts';
import { addTo, makeRole, type HeldRole } from '../support/client/roles.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import type { RegisteredClient } from '../support/node/operator.ts';
import { fieldsOf } from '../support/person/device_flow.ts';
import { Person } from '../support/person/person.ts';

describe('a person who administers the server', () => {
  let gatehouse: Gatehouse;
  let admin: Admin;
  let application: RegisteredClient;
  let made = 0;
  before(async () => {
    gatehouse = await startGatehouse();
    admin = await Admin.of(gatehouse);
    application = await registerApplication(gatehouse);
  });
  after(() => gatehouse.stop());

  async function personIn(...groups: readonly HeldRole[]) {
    const email = `person-${++made}@example.com`;
    const account = { email, password: 'a password of a person' };
    const accountId = (await admin.post('/accounts', account)).body.account_id;
    for (const group of groups) await addTo(admin, group, accountId);
    const person = new Person(gatehouse, { account });
    await signIn(gatehouse, application, { person });
    const page = await person.open(`${gatehouse.issuer}/account/data`);
    const form_token = fieldsOf(page.page)['form_token'] ?? assert.fail('The page has no form.');
    const leave = () =>
      person.submit(`${gatehouse.issuer}/account/data/delete`, { form_token, decision: 'delete', email });
    return { accountId, leave };
  }
  const exists = async (accountId: string): Promise<boolean> =>
    (await admin.get(`/accounts/${accountId}`)).status === 200;
  const administering = (...scopes: readonly string[]) => makeRole(admin, gatehouse.admin.resource, ...scopes);

  it('keeps the account while nobody else has one of the scopes, and reads which', async () => {
    const both = await administering('keys:read', 'keys:rotate');
    const one = await administering('keys:read');
    const { accountId, leave } = await personIn(both);
    const other = await personIn(one);
    const { response, page } = await leave();
    assert.equal(response.status, 409, page);
    assert.match(page, /You are the only person who may do this on the server: keys:rotate\. Give these rights/);
    assert.equal(await exists(accountId), true);
    const { items } = (await admin.get(`/audit-events?event=account.deleted&account_id=${accountId}`)).body;
    assert.deepEqual(items, []);
    await addTo(admin, both, other.accountId);
    assert.equal((await leave()).response.status, 200);
    assert.equal(await exists(accountId), false);
  });

  it('is not replaced by a person who is disabled, or in the group by no admin’s hand', async () => {
    const group = await administering('clients:read');
    const { accountId, leave } = await personIn(group);
    const disabled = await personIn(group);
    await admin.post(`/accounts/${disabled.accountId}/disable`);
    const synchronized = await personIn(group);
    const byHand = (by_hand: boolean) =>
      gatehouse.database
        .updateTable('group_members')
        .set({ by_hand })
        .where('account_id', '=', synchronized.accountId)
        .execute();
    await byHand(false);
    assert.equal((await leave()).response.status, 409);
    assert.equal(await exists(accountId), true);
    await byHand(true);
    assert.equal((await leave()).response.status, 200);
  });

  it('stays as one of two who leave at the same moment', async () => {
    const group = await administering('resources:read');
    for (let round = 0; round < 5; round++) {
      const two = [await personIn(group), await personIn(group)];
      const answers = await Promise.all(two.map(({ leave }) => leave()));
      assert.deepEqual(
        answers.map(({ response }) => response.status).toSorted((a, b) => a - b),
        [200, 409],
      );
      const stays = two[answers.findIndex(({ response }) => response.status === 409)]!;
      assert.equal((await admin.delete(`/accounts/${stays.accountId}`)).status, 204, 'an admin call may end it');
    }
  });

  it('leaves freely with rights of an API alone', async () => {
    const { accountId, leave } = await personIn(await makeRole(admin, gatehouse.demo.resource, 'notes:write'));
    assert.equal((await leave()).response.status, 200);
    assert.equal(await exists(accountId), false);
  });
});
