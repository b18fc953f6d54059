import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import * as openid from 'openid-client';
import { REDIRECT_URI, signIn, type SignedIn } from '../support/client/code_flow.ts';
import { auditEvents, makePolicy, register } from '../support/client/registration.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { Person } from '../support/person/person.ts';

const OFFLINE = { prompt: 'consent' };

describe('a self-registered program that a person allows more, in the same browser,', () => {
  let gatehouse: Gatehouse;
  before(async () => {
    gatehouse = await startGatehouse();
    const resources = [{ resource: gatehouse.demo.resource, scopes: ['notes:read', 'notes:write'] }];
    await makePolicy(gatehouse, { name: 'open', open_registration: true, resources });
  });
  after(() => gatehouse.stop());

  /** A program of its own client, and its two logins by one person. */
  const logInTwice = async (scope: string, parameters: Readonly<Record<string, string>> = {}) => {
    const { status, body } = await register(gatehouse, {
      redirect_uris: [REDIRECT_URI],
      token_endpoint_auth_method: 'none',
      grant_types: ['authorization_code', 'refresh_token'],
    });
    assert.equal(status, 201);
    const client = { client_id: body.client_id, client_secret: '' };
    const person = new Person(gatehouse);
    const first = await signIn(gatehouse, client, { scope: `${scope} notes:read`, parameters, person });
    const second = await signIn(gatehouse, client, { scope: `${scope} notes:read notes:write`, parameters, person });
    return { client, person, first, second };
  };
  const grantsOf = ({ client_id }: { readonly client_id: string }) =>
    gatehouse.database.selectFrom('grants').select(['account_id']).where('client_id', '=', client_id).execute();
  const refresh = ({ config, tokens }: SignedIn, token = tokens.refresh_token!) =>
    openid.refreshTokenGrant(config, token).then(
      (answer) => answer.refresh_token ?? 'none',
      (error: openid.ResponseBodyError) => error.error,
    );

  it('has one grant for the session, which ends with it (FIELD-C3c)', async () => {
    const { client, first, second } = await logInTwice('openid');
    const [grant, ...others] = await grantsOf(client);
    assert.deepEqual(others, []);
    assert.equal(await refresh(first), 'invalid_grant');
    assert.match(await refresh(second), /^\S{40,}$/);
    const revoked = await auditEvents(gatehouse, 'grant.revoked');
    assert.equal(revoked.filter(({ client_id: id }) => id === client.client_id).length, 1);
    const path = `/accounts/${grant!.account_id}/sessions`;
    assert.equal((await gatehouse.adminCall('DELETE', path)).ok, true);
    assert.deepEqual(await grantsOf(client), []);
  });

  it('keeps both grants with offline_access, because a different program may have the first (FIELD-C3c)', async () => {
    const { client, first, second } = await logInTwice('openid offline_access', OFFLINE);
    assert.equal((await grantsOf(client)).length, 2);
    const successor = await refresh(first);
    assert.match(successor, /^\S{40,}$/);
    await refresh(first, successor);
    // a used token that comes back after the grace window ends its family, and no other
    await gatehouse.database
      .updateTable('artifacts')
      .set({ consumed_at: new Date(Date.now() - 60_000) })
      .where('kind', '=', 'RefreshToken')
      .where('client_id', '=', client.client_id)
      .where('consumed_at', 'is not', null)
      .execute();
    assert.equal(await refresh(first), 'invalid_grant');
    const [grant, ...others] = await grantsOf(client);
    assert.deepEqual(others, []);
    assert.match(await refresh(second), /^\S{40,}$/);
    const path = `/accounts/${grant!.account_id}/consents/${client.client_id}`;
    assert.equal((await gatehouse.adminCall('DELETE', path)).status, 204);
    assert.deepEqual(await grantsOf(client), []);
  });

  it('ends the earlier grant when it revokes the refresh token that it had before (FIELD-C3c)', async () => {
    const { client, first, second } = await logInTwice('openid offline_access', OFFLINE);
    await openid.tokenRevocation(first.config, first.tokens.refresh_token!);
    assert.equal((await grantsOf(client)).length, 1);
    assert.match(await refresh(second), /^\S{40,}$/);
  });
});
