import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { decodeJwt } from 'jose';
import { Admin } from '../support/client/admin.ts';
import { BothPaths } from '../support/client/both_paths.ts';
import { registerApplication, signIn } from '../support/client/code_flow.ts';
import { makePolicy, register } from '../support/client/registration.ts';
import { addTo, demoAccountId, makeRole, type HeldRole } from '../support/client/roles.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { registerResource } from '../support/node/operator.ts';
import { poll, connectDevice, registerDevice, requestDevice } from '../support/person/device_flow.ts';

const QUICK = { id_token_signed_response_alg: 'ES256', scope: 'openid email profile' };

describe('claims that an admin adds', () => {
  let gatehouse: Gatehouse;
  let admin: Admin;
  let both: BothPaths;
  let accountId: string;
  let held: HeldRole;
  before(async () => {
    gatehouse = await startGatehouse();
    admin = await Admin.of(gatehouse);
    both = new BothPaths(gatehouse);
    accountId = await demoAccountId(admin);
    const { resource } = await registerResource(gatehouse, 'files');
    held = await makeRole(admin, resource, 'files:write');
    await addTo(admin, held, accountId);
  });
  after(() => gatehouse.stop());

  const idTokenOf = async (metadata: object, scope = 'openid email'): Promise<Record<string, unknown>> => {
    const client = await registerApplication(gatehouse, { ...QUICK, ...metadata });
    const forms = await both.codes(client, { scope: `${scope} notes:read` });
    const { taken, lean } = await both.compare(forms, client, 'code');
    assert.deepEqual([taken, lean.status], [true, 200]);
    return decodeJwt(String(lean.body['id_token']));
  };
  const userinfoOf = async (metadata: object, scope = 'openid email'): Promise<Record<string, unknown>> => {
    const client = await registerApplication(gatehouse, { ...QUICK, ...metadata });
    const { tokens } = await signIn(gatehouse, client, { scope });
    const response = await fetch(`${gatehouse.url}/userinfo`, {
      headers: { authorization: `Bearer ${tokens.access_token}` },
    });
    return (await response.json()) as Record<string, unknown>;
  };

  it('are the names of groups and roles, in the ID token of both paths and at userinfo, only where chosen', async () => {
    const plain = await idTokenOf({});
    assert.deepEqual([plain['groups'], plain['roles']], [undefined, undefined]);
    const metadata = { account_claims: ['groups', 'roles'] };
    for (const claims of [await idTokenOf(metadata), await userinfoOf(metadata)])
      assert.deepEqual([claims['groups'], claims['roles']], [[held.groupName], [held.role]]);
    const one = await idTokenOf({ account_claims: ['roles'] });
    assert.deepEqual([one['groups'], one['roles']], [undefined, [held.role]]);
  });

  it('are at userinfo alone for a client with minimal ID tokens', async () => {
    const metadata = { account_claims: ['groups'], id_token_claims: 'minimal' };
    assert.equal((await idTokenOf(metadata))['groups'], undefined);
    assert.deepEqual((await userinfoOf(metadata))['groups'], [held.groupName]);
  });

  it('come from the profile where the person has granted the scope that gives it', async () => {
    const claim_mappings = [
      { claim: 'user_name', from: 'email' },
      { claim: 'https://example.com/teams', from: 'groups' },
      { claim: 'display', from: 'name' },
    ];
    await admin.patch(`/accounts/${accountId}`, { name: 'Ada' });
    for (const claimsOf of [idTokenOf, userinfoOf]) {
      const { user_name, display, ...others } = await claimsOf({ claim_mappings });
      assert.deepEqual([user_name, display], [gatehouse.account.email, undefined]);
      assert.deepEqual(others['https://example.com/teams'], [held.groupName]);
      assert.equal((await claimsOf({ claim_mappings }, 'openid profile'))['display'], 'Ada');
    }
  });

  it('leave out a member of a scope that the client is not registered for, asked for by its name or not', async () => {
    const claim_mappings = [{ claim: 'user_name', from: 'email' }];
    const client = await registerApplication(gatehouse, { ...QUICK, claim_mappings });
    const claims = JSON.stringify({ userinfo: { email: null }, id_token: { email: null } });
    const { tokens } = await signIn(gatehouse, client, { scope: 'openid', parameters: { claims } });
    const atUserinfo = async () =>
      (await (
        await fetch(`${gatehouse.url}/userinfo`, { headers: { authorization: `Bearer ${tokens.access_token}` } })
      ).json()) as Record<string, unknown>;
    assert.equal(decodeJwt(tokens.id_token!)['user_name'], gatehouse.account.email);
    assert.equal((await atUserinfo())['user_name'], gatehouse.account.email);
    const changed = await admin.patch(`/clients/${client.client_id}`, { scope: 'openid' });
    assert.equal(changed.status, 200, changed.text);
    assert.equal((await atUserinfo())['user_name'], undefined);
  });

  it('are in access tokens for a resource, on both paths and for a device', async () => {
    const { resource, scopes } = await registerResource(gatehouse, 'wiki');
    const path = `/resources/${encodeURIComponent(resource)}`;
    const claim_mappings = [
      { claim: 'groups', from: 'groups' },
      { claim: 'mail', from: 'email' },
    ];
    const changed = await admin.patch(path, { claim_mappings });
    assert.deepEqual(changed.body['claim_mappings'], claim_mappings, changed.text);
    const client = await registerApplication(gatehouse, { ...QUICK, resources: [{ resource, scopes }] });
    const forms = await both.codes(client, { scope: 'openid email wiki:read' });
    const { taken, lean } = await both.compare(forms, client, 'code');
    const claims = decodeJwt(String(lean.body['access_token']));
    assert.deepEqual([taken, claims['groups'], claims['mail']], [true, [held.groupName], gatehouse.account.email]);

    const tv = await registerDevice(gatehouse, { ...QUICK, resources: [{ resource, scopes }] });
    const { device_code, user_code } = await requestDevice(gatehouse, tv, { scope: 'wiki:read', resource });
    await connectDevice(gatehouse, user_code);
    const answer = await poll(gatehouse, tv, device_code);
    const ofDevice = decodeJwt(answer.access_token!);
    assert.deepEqual([ofDevice['groups'], ofDevice['mail']], [[held.groupName], undefined]);
  });

  it('leave out more than 200 names of a token, say so, and are complete at userinfo', async () => {
    const { body } = await admin.post('/accounts', { email: 'many@example.com', password: 'a long enough password' });
    const names = Array.from({ length: 201 }, (_, index) => `g${String(index).padStart(3, '0')}`);
    const now = new Date();
    await gatehouse.database
      .insertInto('groups')
      .values(names.map((name) => ({ group_id: `group_${name}`, name, created_at: now, updated_at: now })))
      .execute();
    await gatehouse.database
      .insertInto('group_members')
      .values(names.map((name) => ({ group_id: `group_${name}`, account_id: accountId, by_hand: true, added_at: now })))
      .execute();
    // any change of a group makes the node read them again
    await admin.patch(`/groups/${held.groupId}`, { description: 'Read again' });
    const metadata = { account_claims: ['groups', 'roles'], claim_mappings: [{ claim: 'teams', from: 'groups' }] };
    const token = await idTokenOf(metadata);
    assert.deepEqual(
      [token['groups'], token['groups_omitted'], token['teams'], token['teams_omitted'], token['roles']],
      [undefined, true, undefined, true, [held.role]],
    );
    const info = await userinfoOf(metadata);
    assert.equal((info['groups'] as string[]).length, 202);
    assert.equal('groups_omitted' in info, false);
    await gatehouse.database.deleteFrom('groups').where('name', 'in', names).execute();
    await admin.patch(`/groups/${held.groupId}`, { description: null });
    await admin.delete(`/accounts/${body.account_id}`);
  });

  it('can’t be chosen by a client that registers itself', async () => {
    await makePolicy(gatehouse, { name: 'open', open_registration: true });
    const members = { account_claims: ['groups'], claim_mappings: [{ claim: 'x', from: 'groups' }], first_party: true };
    for (const [member, value] of Object.entries({ ...members, allowed_groups: [held.groupId] })) {
      const { status, body } = await register(gatehouse, { [member]: value });
      assert.equal(status, 400);
      assert.match(String(body.error_description), new RegExp(`${member} can only be set by an admin`));
    }
  });

  it('can’t be one that the server sets, nor be set twice', async () => {
    const application = { redirect_uris: ['https://app.example.com/callback'] };
    const reserved =
      `iss sub aud exp iat nbf jti scope client_id cnf act acr amr auth_time gen gid sub_id azp nonce at_hash
      c_hash sid email name active username token_type parents asserted_by authorization_details userinfo_claims
      may_act _claim_names groups_omitted __proto__`.split(/\s+/);
    for (const claim of reserved) {
      const mapping = { claim_mappings: [{ claim, from: 'groups' }] };
      const client = await admin.post('/clients', { ...application, ...mapping });
      assert.equal(client.status, 400, claim);
      assert.equal(client.body.errors[0]!.pointer, '/claim_mappings/0/claim');
      const resource = await admin.patch(`/resources/${encodeURIComponent(gatehouse.demo.resource)}`, mapping);
      assert.equal(resource.status, 400, claim);
    }
    for (const wrong of [
      { account_claims: ['groups', 'groups'] },
      { account_claims: ['email'] },
      { account_claims: ['groups'], claim_mappings: [{ claim: 'groups', from: 'roles' }] },
      { claim_mappings: [{ claim: 'x', from: 'password' }] },
      {
        claim_mappings: [
          { claim: 'x', from: 'groups' },
          { claim: 'x', from: 'roles' },
        ],
      },
    ])
      assert.equal((await admin.post('/clients', { ...application, ...wrong })).status, 400, JSON.stringify(wrong));
  });
});
