import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { decodeJwt } from 'jose';
import { PASSWORD_ACR } from '../../src/base/acr_values.ts';
import { CIBA, DEVICE_CODE } from '../../src/clients/metadata/flows.ts';
import { ask, askRaw, decide, poll, registerTill } from '../support/client/backchannel.ts';
import { REDIRECT_URI, signIn } from '../support/client/code_flow.ts';
import { postForm, startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { registerClient, type RegisteredClient } from '../support/node/operator.ts';
import { openBank, PAYMENT } from '../support/client/payments.ts';
import { introspect } from '../support/client/exchanged_tokens.ts';

describe('backchannel authentication', () => {
  let gatehouse: Gatehouse;
  before(async () => {
    gatehouse = await startGatehouse();
  });
  after(() => gatehouse.stop());

  describe('of a client that knows people by pairwise subjects', () => {
    let till: RegisteredClient;
    let sub: string;
    let idToken: string;
    before(async () => {
      till = await registerTill(gatehouse, {
        grant_types: [CIBA, 'authorization_code'],
        redirect_uris: [REDIRECT_URI],
        subject_type: 'pairwise',
      });
      idToken = (await signIn(gatehouse, till)).tokens.id_token!;
      sub = decodeJwt(idToken).sub!;
    });

    it('finds the person by the ID token that the client has of them, and calls them the same', async () => {
      const accounts = await gatehouse.database.selectFrom('accounts').select('account_id').execute();
      assert.equal(
        accounts.some(({ account_id }) => account_id === sub),
        false,
      );
      const asked = await ask(gatehouse, till, { id_token_hint: idToken });
      await decide(gatehouse, asked, 'approve');
      const { status, id_token } = await poll(gatehouse, till, asked);
      assert.equal(status, 200);
      assert.equal(decodeJwt(id_token!).sub, sub);
    });

    it('finds no person by the name that another client has for them, or by that name as a login_hint', async () => {
      const other = await registerTill(gatehouse);
      for (const [client, hint] of [
        [other, { id_token_hint: idToken }],
        [till, { login_hint: sub }],
        [other, { login_hint: sub }],
      ] as const) {
        const { status, body } = await askRaw(gatehouse, client, { scope: 'openid', ...hint });
        assert.equal(status, 400, JSON.stringify(body));
        assert.match(body.error ?? '', /^(invalid_request|unknown_user_id)$/);
      }
    });

    it('finds no person by an account’s id, which would tell the client that the two are one person', async () => {
      const { account_id: login_hint } = await gatehouse.database
        .selectFrom('accounts')
        .select('account_id')
        .executeTakeFirstOrThrow();
      const { status, body } = await askRaw(gatehouse, till, { scope: 'openid', login_hint });
      assert.deepEqual([status, body.error], [400, 'unknown_user_id']);
    });
  });

  it('says in the access token, and at introspection, how and when the person who approved had logged in', async () => {
    const till = await registerTill(gatehouse);
    const asked = await ask(gatehouse, till, { scope: 'openid notes:read', resource: gatehouse.demo.resource });
    const began = Math.floor(Date.now() / 1000);
    await decide(gatehouse, asked, 'approve');
    const { access_token = '' } = await poll(gatehouse, till, asked);
    for (const told of [decodeJwt(access_token), await introspect(gatehouse, till, access_token)]) {
      assert.deepEqual([told['acr'], told['amr']], [PASSWORD_ACR, ['pwd']]);
      assert.ok(Number(told['auth_time']) >= began - 1, `logged in at ${String(told['auth_time'])}`);
    }
  });

  it('is for scopes alone: a wish in detail is refused, and never passed by; so it is for devices', async () => {
    await openBank(gatehouse);
    const client = await registerClient(gatehouse, {
      grant_types: [CIBA, DEVICE_CODE],
      backchannel_token_delivery_mode: 'poll',
      resources: [{ resource: 'https://bank.example.com', scopes: ['accounts:read'] }],
      authorization_details_types: ['payment'],
    });
    const authorization_details = JSON.stringify([PAYMENT]);
    const wish = { scope: 'openid', authorization_details, resource: 'https://bank.example.com' };
    const { status, body } = await askRaw(gatehouse, client, { ...wish, login_hint: gatehouse.account.email });
    assert.deepEqual([status, body.error], [400, 'invalid_authorization_details'], JSON.stringify(body));
    const device = await postForm(`${gatehouse.url}/device_authorization`, wish, client);
    const refusal = (await device.json()) as { readonly error?: string };
    assert.deepEqual([device.status, refusal.error], [400, 'invalid_authorization_details']);
  });
});
