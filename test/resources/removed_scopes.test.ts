import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import pg from 'pg';
import { CIBA } from '../../src/clients/metadata/flows.ts';
import { Admin } from '../support/client/admin.ts';
import { REDIRECT_URI, redeem, registerApplication, requestCode, signIn } from '../support/client/code_flow.ts';
import { introspect } from '../support/client/exchanged_tokens.ts';
import { moveClock, resetClock } from '../support/node/clock.ts';
import { postForm, startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { eventually, registerClient, registerResource, type RegisteredClient } from '../support/node/operator.ts';
import { connectDevice, poll, registerDevice, requestDevice } from '../support/person/device_flow.ts';
import { Person } from '../support/person/person.ts';

const scopes = [
  { name: 'read', description: 'Read tools' },
  { name: 'write', description: 'Change tools' },
];
const ALL = ['read', 'write'];

describe('a scope that is removed from a resource', () => {
  let gatehouse: Gatehouse;
  let admin: Admin;
  before(async () => {
    gatehouse = await startGatehouse();
    admin = await Admin.of(gatehouse);
  });
  after(() => gatehouse.stop());
  afterEach(resetClock);

  let made = 0;
  let resource: string;
  let application: RegisteredClient;
  let person: Person;
  const access = () => [{ resource, scopes: ALL }];
  beforeEach(async () => {
    resource = `https://tools-${++made}.example.com`;
    assert.equal((await admin.post('/resources', { identifier: resource, scopes })).status, 201);
    const grant_types = ['authorization_code', 'refresh_token', 'client_credentials'];
    application = await registerApplication(gatehouse, { resources: access(), grant_types });
    person = new Person(gatehouse, { remember: true });
  });

  const setScopes = (...names: string[]) => {
    const named = names.map((name) => ({ name, description: `May now ${name} EVERYTHING` }));
    return admin.patch(`/resources/${encodeURIComponent(resource)}`, { scopes: named });
  };
  const remove = async (): Promise<void> => {
    const { status, text } = await setScopes('read');
    assert.equal(status, 200, text);
  };
  const makeAgain = async (...clients: RegisteredClient[]): Promise<void> => {
    const { status, text } = await setScopes(...ALL);
    assert.equal(status, 200, text);
    for (const { client_id } of [application, ...clients])
      assert.equal((await admin.patch(`/clients/${client_id}`, { resources: access() })).status, 200);
  };
  const ofToken = async (form: Readonly<Record<string, string>>) => {
    const answer = await postForm(`${gatehouse.url}/token`, form, application);
    return { status: answer.status, body: (await answer.json()) as Readonly<Record<string, unknown>> };
  };
  const refresh = (refresh_token: string) => ofToken({ grant_type: 'refresh_token', refresh_token });

  it('is not in what a refresh token gives, nor in a code, when it is made anew (FIELD-E4)', async () => {
    const how = { scope: 'openid read write', parameters: { resource } };
    const { tokens } = await signIn(gatehouse, application, { ...how, person });
    assert.equal(tokens.scope, 'read write');
    const code = await requestCode(gatehouse, application, how);
    await remove();
    await makeAgain();
    const refreshed = await refresh(tokens.refresh_token!);
    assert.deepEqual([refreshed.status, refreshed.body['scope']], [200, 'read'], JSON.stringify(refreshed.body));
    const redeemed = (await (await redeem(gatehouse.url, application, code)).json()) as { scope: string };
    assert.equal(redeemed.scope, 'read');
    const { database } = gatehouse;
    const rows = await database
      .selectFrom('artifacts')
      .select('payload')
      .where('client_id', '=', application.client_id)
      .execute();
    assert.ok(rows.length > 0);
    for (const { payload } of rows) assert.doesNotMatch(JSON.stringify(payload), /write/);
  });

  it('ends a grant and its tokens that were for it alone (FIELD-E4)', async () => {
    const how = { scope: 'write', parameters: { resource } };
    const { tokens } = await signIn(gatehouse, application, { ...how, person });
    await remove();
    await makeAgain();
    const refreshed = await refresh(tokens.refresh_token!);
    assert.deepEqual([refreshed.status, refreshed.body['error']], [400, 'invalid_grant']);
  });

  it('is taken out of consents, so the person is asked again when it is made anew (FIELD-E4)', async () => {
    await signIn(gatehouse, application, { scope: 'openid read write', parameters: { resource }, person });
    const silent = async (scope: string) => {
      const parameters = { resource, prompt: 'none' };
      const { callback } = await requestCode(gatehouse, application, { scope, parameters, person });
      return callback.searchParams.get('error');
    };
    assert.equal(await silent('openid write'), null);
    await remove();
    await makeAgain();
    assert.equal(await silent('openid write'), 'consent_required');
    assert.equal(await silent('openid read'), null);
  });

  it('is taken out of approved device codes (FIELD-E4)', async () => {
    const tv = await registerDevice(gatehouse, { resources: access() });
    const device = await requestDevice(gatehouse, tv, { scope: 'openid read write', resource });
    await connectDevice(gatehouse, device.user_code);
    await remove();
    await makeAgain(tv);
    assert.equal((await poll(gatehouse, tv, device.device_code)).scope, 'read');
  });

  it('is taken out of backchannel requests (FIELD-E4)', async () => {
    const caller = await registerClient(gatehouse, {
      grant_types: ['authorization_code', CIBA],
      redirect_uris: [REDIRECT_URI],
      backchannel_token_delivery_mode: 'poll',
      resources: access(),
    });
    await signIn(gatehouse, application, { scope: 'openid', person });
    const { database } = gatehouse;
    const { email } = await database.selectFrom('accounts').select('email').executeTakeFirstOrThrow();
    const form = { scope: 'openid read write', resource, login_hint: email };
    const answer = await postForm(`${gatehouse.url}/backchannel_authentication`, form, caller);
    assert.equal(answer.status, 200, await answer.text());
    await remove();
    const { payload } = await database
      .selectFrom('backchannel_requests')
      .select('payload')
      .where('client_id', '=', caller.client_id)
      .executeTakeFirstOrThrow();
    assert.equal((payload as { scope?: string }).scope, 'openid read');
  });

  it('leaves a scope of the same name of another resource (FIELD-E4)', async () => {
    const other = await registerResource(gatehouse, `files-${made}`, {
      scopes: [{ name: 'write', description: 'Change files' }],
    }).catch(() => undefined);
    const files = other?.resource ?? `https://files-${made}.example.com`;
    const resources = [...access(), { resource: files, scopes: ['write'] }];
    assert.equal((await admin.patch(`/clients/${application.client_id}`, { resources })).status, 200);
    const how = { scope: 'openid write', parameters: { resource: files } };
    const { tokens } = await signIn(gatehouse, application, { ...how, person });
    await remove();
    const { status, body } = await refresh(tokens.refresh_token!);
    assert.deepEqual([status, body['scope']], [200, 'write'], JSON.stringify(body));
  });

  it('is not in what introspection and the list of live tokens say of a JWT, also when made anew (FIELD-E4)', async () => {
    const api = await registerClient(gatehouse, { introspects: [resource] });
    const { tokens } = await signIn(gatehouse, application, { scope: 'openid email read write', person });
    const { body } = await ofToken({ grant_type: 'client_credentials', resource });
    const said = async (who: RegisteredClient) => [
      (await introspect(gatehouse, who, tokens.access_token))['scope'],
      (await introspect(gatehouse, who, String(body['access_token'])))['scope'],
    ];
    const listed = async () => {
      const { items } = (await admin.get(`/clients/${application.client_id}/tokens`)).body;
      return items.map(({ scope }) => String(scope)).toSorted((one, other) => one.localeCompare(other));
    };
    assert.deepEqual(await said(api), ['read write', 'read write']);
    assert.deepEqual(await listed(), ['openid email read write', 'read write']);
    await remove();
    const without = async (): Promise<void> => {
      assert.deepEqual(await said(api), ['read', 'read']);
      assert.deepEqual(await said(application), ['openid email read', 'read']);
      assert.deepEqual(await listed(), ['openid email read', 'read']);
    };
    await without();
    moveClock(2);
    await makeAgain();
    await without();
    const fresh = await ofToken({ grant_type: 'client_credentials', resource });
    assert.equal((await introspect(gatehouse, api, String(fresh.body['access_token'])))['scope'], 'read write');
  });

  it('gives no right to a person who decides after it was removed (FIELD-E4)', async () => {
    const { client_id } = application;
    const late = new Person(gatehouse, { remember: true });
    await signIn(gatehouse, application, { scope: 'openid', person: late });
    const query = new URLSearchParams({
      client_id,
      response_type: 'code',
      redirect_uri: REDIRECT_URI,
      scope: 'openid read write',
      resource,
      code_challenge: 'x'.repeat(43),
      code_challenge_method: 'S256',
    });
    const page = await late.open(`${gatehouse.issuer}/authorize?${query}`);
    assert.match(page.page, /Change tools/);
    await remove();
    await late.finish(page);
    const { database } = gatehouse;
    const grants = await database.selectFrom('grants').select('payload').where('client_id', '=', client_id).execute();
    const consents = await database
      .selectFrom('consents')
      .select('scopes')
      .where('client_id', '=', client_id)
      .execute();
    assert.ok(JSON.stringify(grants).includes(resource) && JSON.stringify(consents).includes(resource));
    assert.doesNotMatch(JSON.stringify([grants, consents]), /write/);
  });

  it('can not be made anew while rights for it are left (FIELD-E4)', async () => {
    await signIn(gatehouse, application, { scope: 'openid read write', parameters: { resource }, person });
    const holder = new pg.Client({ connectionString: gatehouse.databaseUrl });
    await holder.connect();
    await holder.query('begin');
    await holder.query(`select from grants where client_id = '${application.client_id}' for update`);
    await remove();
    const early = await setScopes(...ALL);
    const others = await setScopes('read', 'more');
    await holder.query('rollback');
    await holder.end();
    assert.equal(early.status, 409, early.text);
    assert.match(early.text, /still ending the rights for the removed scope write of/);
    assert.equal(others.status, 200, others.text);
    await makeAgain();
  });

  it('leaves a record of the rights that have ended (FIELD-E4)', async () => {
    await signIn(gatehouse, application, { scope: 'openid read write', parameters: { resource }, person });
    await remove();
    const path = `/audit-events?event=resource.rights_ended&resource=${encodeURIComponent(resource)}&from=${new Date(Date.now() - 60_000).toISOString()}`;
    await eventually(async () => (await admin.get(path)).body.items.length === 1);
    const [event] = (await admin.get(path)).body.items;
    assert.deepEqual(event!['details'], { resource, scopes: ['write'], grants: 1, tokens: 2, consents: 1 });
  });
});
