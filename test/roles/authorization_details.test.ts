import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { redeem, requestCode, signIn } from '../support/client/code_flow.ts';
import { introspect } from '../support/client/exchanged_tokens.ts';
import { BANK, openBank, PAYMENT, type Payments } from '../support/client/payments.ts';
import { addTo, demoAccountId, endRole, makeRole, removeFrom } from '../support/client/roles.ts';
import { postForm, startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';

describe('a person who may have no scope of an API gets no token for it by authorization details', () => {
  let gatehouse: Gatehouse;
  let bank: Payments;
  let accountId: string;
  before(async () => {
    gatehouse = await startGatehouse();
    bank = await openBank(gatehouse);
    accountId = await demoAccountId(bank.admin);
  });
  after(() => gatehouse.stop());

  const parameters = { authorization_details: JSON.stringify([PAYMENT]) };
  const ask = (scope = '') => requestCode(gatehouse, bank.shop, { scope, parameters });
  const errorOf = async (scope?: string) => (await ask(scope)).callback.searchParams.get('error');

  it('neither by an authorization request, nor by a code, a refresh or an earlier token', async () => {
    const signedIn = await signIn(gatehouse, bank.shop, { scope: 'offline_access', parameters });
    const { access_token, refresh_token = '' } = signedIn.tokens;
    const waiting = await ask();
    const held = await makeRole(bank.admin, BANK, 'accounts:read');
    const refresh = async () =>
      (await postForm(`${gatehouse.url}/token`, { grant_type: 'refresh_token', refresh_token }, bank.shop)).status;
    const isActive = async () => (await introspect(gatehouse, bank.shop, access_token))['active'];
    for (const scope of ['', 'openid', 'accounts:read']) assert.equal(await errorOf(scope), 'access_denied', scope);
    const redeemed = await redeem(gatehouse.url, bank.shop, waiting);
    assert.deepEqual([redeemed.status, ((await redeemed.json()) as { error: string }).error], [400, 'access_denied']);
    assert.deepEqual([await refresh(), await isActive()], [400, false]);

    await addTo(bank.admin, held, accountId);
    assert.equal(await errorOf(), null);
    assert.deepEqual([await isActive(), await refresh()], [true, 200]);
    await removeFrom(bank.admin, held, accountId);
    assert.equal(await errorOf(), 'access_denied');
    await endRole(bank.admin, held);
  });

  it('but gets one, without the scope, where another scope of the API is for every person', async () => {
    const scopes = ['accounts:read', 'accounts:close'].map((name) => ({ name, description: name }));
    const changed = await bank.admin.patch(`/resources/${encodeURIComponent(BANK)}`, { scopes });
    assert.equal(changed.status, 200, changed.text);
    const held = await makeRole(bank.admin, BANK, 'accounts:read');
    const { tokens } = await signIn(gatehouse, bank.shop, { scope: 'accounts:read', parameters });
    assert.deepEqual([tokens['scope'] ?? '', tokens['authorization_details']], ['', [PAYMENT]]);
    await endRole(bank.admin, held);
  });
});
