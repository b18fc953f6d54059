import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Admin } from '../support/client/admin.ts';
import { BothPaths } from '../support/client/both_paths.ts';
import { registerApplication, requestCode, signIn, REDIRECT_URI } from '../support/client/code_flow.ts';
import { askRaw, registerTill } from '../support/client/backchannel.ts';
import { addTo, demoAccountId, removeFrom } from '../support/client/roles.ts';
import { postForm, startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import type { RegisteredClient } from '../support/node/operator.ts';
import { enterCode, poll, registerDevice, requestDevice } from '../support/person/device_flow.ts';
import { Person, type Arrival } from '../support/person/person.ts';

const QUICK = { id_token_signed_response_alg: 'ES256', scope: 'openid email profile' };

describe('an application for the members of a group', () => {
  let gatehouse: Gatehouse;
  let admin: Admin;
  let both: BothPaths;
  let accountId: string;
  let groupId: string;
  before(async () => {
    gatehouse = await startGatehouse();
    admin = await Admin.of(gatehouse);
    both = new BothPaths(gatehouse);
    accountId = await demoAccountId(admin);
    groupId = String((await admin.post('/groups', { name: 'Staff' })).body['group_id']);
  });
  after(() => gatehouse.stop());

  const register = (metadata: object = {}): Promise<RegisteredClient> =>
    registerApplication(gatehouse, { ...QUICK, client_name: 'Payroll', allowed_groups: [groupId], ...metadata });
  const urlOf = (client: RegisteredClient): URL => {
    const url = new URL(`${gatehouse.issuer}/authorize`);
    url.search = new URLSearchParams({
      client_id: client.client_id,
      redirect_uri: REDIRECT_URI,
      response_type: 'code',
      scope: 'openid',
      code_challenge: 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM',
      code_challenge_method: 'S256',
    }).toString();
    return url;
  };
  const leave = (person: Person, { page, url }: Arrival): Promise<Arrival> =>
    person.submit(new URL(/action="([^"]*\/leave)"/.exec(page)![1]!, url), {});

  it('shows others whom to ask, and tells the application access_denied', async () => {
    const client = await register({ contacts: ['payroll@example.com'] });
    const person = new Person(gatehouse);
    const refused = await person.walk(urlOf(client));
    assert.equal(refused.response.status, 403);
    assert.match(refused.page, /You can’t use Payroll/);
    assert.match(refused.page, /mailto:payroll@example\.com/);
    const back = new URL((await leave(person, refused)).url);
    assert.equal(back.origin + back.pathname, REDIRECT_URI);
    assert.deepEqual(
      [back.searchParams.get('error'), back.searchParams.get('error_description')],
      ['access_denied', 'the end-user may not use this client'],
    );
    const silent = await requestCode(gatehouse, client, { parameters: { prompt: 'none' }, person });
    assert.equal(silent.callback.searchParams.get('error'), 'access_denied');
  });

  it('takes members, and loses them with the membership, on both paths, at userinfo and at introspection', async () => {
    const client = await register();
    await addTo(admin, { groupId }, accountId);
    const forms = await both.refreshes(client, { scope: 'openid notes:read' });
    const { tokens } = await signIn(gatehouse, client, { scope: 'openid' });
    const jwt = await signIn(gatehouse, client, { scope: 'notes:read' });
    const userinfo = async (): Promise<number> =>
      (await fetch(`${gatehouse.url}/userinfo`, { headers: { authorization: `Bearer ${tokens.access_token}` } }))
        .status;
    const isActive = async (): Promise<boolean> => {
      const answer = await postForm(`${gatehouse.url}/introspect`, { token: jwt.tokens.access_token }, client);
      return ((await answer.json()) as { active: boolean }).active;
    };
    assert.deepEqual([await userinfo(), await isActive()], [200, true]);
    await removeFrom(admin, { groupId }, accountId);
    assert.deepEqual([await userinfo(), await isActive()], [401, false]);
    const refused = await both.compare(forms, client, 'refused');
    assert.deepEqual([refused.taken, refused.lean.status, refused.lean.body['error']], [false, 400, 'access_denied']);
    await addTo(admin, { groupId }, accountId);
    const again = await both.compare(forms, client, 'again');
    assert.deepEqual([again.taken, again.lean.status], [true, 200]);
    await removeFrom(admin, { groupId }, accountId);
  });

  it('refuses others in the device flow and in a backchannel request', async () => {
    const tv = await registerDevice(gatehouse, { allowed_groups: [groupId] });
    const { device_code, user_code } = await requestDevice(gatehouse, tv, { scope: 'openid' });
    const person = new Person(gatehouse);
    const refused = await person.finish(await enterCode(gatehouse, person, user_code));
    assert.match(refused.page, /You can’t use Living-room TV/);
    await leave(person, refused);
    const { status, error } = await poll(gatehouse, tv, device_code);
    assert.deepEqual([status, error], [400, 'access_denied']);

    const till = await registerTill(gatehouse, { allowed_groups: [groupId] });
    const { body } = await askRaw(gatehouse, till, { scope: 'openid', login_hint: gatehouse.account.email });
    assert.equal(body.error, 'access_denied');
  });

  it('keeps its group: the group can’t be deleted, and must exist', async () => {
    const { body } = await admin.post('/groups', { name: 'Kept' });
    const kept = String(body['group_id']);
    const { client_id } = await register({ allowed_groups: [kept] });
    const refused = await admin.delete(`/groups/${kept}`);
    assert.equal(refused.status, 409);
    assert.match(refused.body.detail, new RegExp(client_id));
    for (const allowed_groups of [['group_x'], [], [kept, kept]])
      assert.equal((await admin.patch(`/clients/${client_id}`, { allowed_groups })).status, 400);
    assert.equal((await admin.patch(`/clients/${client_id}`, { allowed_groups: null })).status, 200);
    assert.equal((await admin.delete(`/groups/${kept}`)).status, 204);
  });
});
