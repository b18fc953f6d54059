import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, it } from 'node:test';
import { decodeJwt } from 'jose';
import pg from 'pg';
import { sha256 } from '../../src/base/secret.ts';
import { json } from '../../src/db/connection.ts';
import { endRights, forgetEndedNames } from '../../src/resources/ended_rights.ts';
import { Admin } from '../support/client/admin.ts';
import { REDIRECT_URI, registerApplication, requestCode, redeem, signIn } from '../support/client/code_flow.ts';
import { exchange, introspect } from '../support/client/exchanged_tokens.ts';
import { billing, ExchangeScene, orders } from '../support/client/exchange_parties.ts';
import { openTrail } from '../support/node/audit_trail.ts';
import { moveClock, resetClock } from '../support/node/clock.ts';
import { postForm, startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { eventually, registerClient, registerResource, type RegisteredClient } from '../support/node/operator.ts';
import { connectDevice, poll, registerDevice, requestDevice } from '../support/person/device_flow.ts';
import { Person } from '../support/person/person.ts';

const scopes = [{ name: 'tools:read', description: 'Read tools' }];

describe('a deleted resource', () => {
  let gatehouse: Gatehouse;
  let admin: Admin;
  let person: Person;
  before(async () => {
    gatehouse = await startGatehouse();
    admin = await Admin.of(gatehouse);
    person = new Person(gatehouse, { remember: true });
  });
  after(() => gatehouse.stop());

  let made = 0;
  let resource: string;
  let application: RegisteredClient;
  let other: { readonly resource: string; readonly scopes: string[] };
  const access = () => [{ resource, scopes: ['tools:read'] }, other];
  beforeEach(async () => {
    resource = `https://tools-${++made}.example.com`;
    other = await registerResource(gatehouse, `files-${made}`);
    assert.equal((await admin.post('/resources', { identifier: resource, scopes })).status, 201);
    application = await registerApplication(gatehouse, { resources: access() });
  });

  const remove = async (client: RegisteredClient = application): Promise<void> => {
    assert.equal((await admin.patch(`/clients/${client.client_id}`, { resources: [other] })).status, 200);
    const { status, text } = await admin.delete(`/resources/${encodeURIComponent(resource)}`);
    assert.equal(status, 204, text);
  };
  const makeAgain = async (client: RegisteredClient = application): Promise<void> => {
    const { status, text } = await admin.post('/resources', { identifier: resource, scopes });
    assert.equal(status, 201, text);
    assert.equal((await admin.patch(`/clients/${client.client_id}`, { resources: access() })).status, 200);
  };
  const refresh = async (refresh_token: string, more: Readonly<Record<string, string>> = {}) => {
    const form = { grant_type: 'refresh_token', refresh_token, ...more };
    const answer = await postForm(`${gatehouse.url}/token`, form, application);
    return { status: answer.status, body: (await answer.json()) as Readonly<Record<string, unknown>> };
  };

  it('takes the refresh tokens for it along: they are refused when it is made anew (FIELD-E4)', async () => {
    const { tokens } = await signIn(gatehouse, application, { scope: 'openid tools:read', parameters: { resource } });
    await remove();
    await makeAgain();
    const { status, body } = await refresh(tokens.refresh_token!);
    assert.deepEqual([status, body['error']], [400, 'invalid_grant']);
  });

  it('takes the refresh tokens for it and userinfo along (FIELD-E4)', async () => {
    const { tokens } = await signIn(gatehouse, application, { scope: 'openid profile tools:read' });
    assert.equal(tokens.scope, 'openid profile tools:read');
    await remove();
    await makeAgain();
    const { status, body } = await refresh(tokens.refresh_token!);
    assert.deepEqual([status, body['error']], [400, 'invalid_grant']);
  });

  it('takes its codes and approved device codes along (FIELD-E4)', async () => {
    const code = await requestCode(gatehouse, application, { scope: 'openid tools:read', parameters: { resource } });
    const tv = await registerDevice(gatehouse, { resources: access() });
    const device = await requestDevice(gatehouse, tv, { scope: 'openid tools:read', resource });
    await connectDevice(gatehouse, device.user_code);
    await admin.patch(`/clients/${tv.client_id}`, { resources: [other] });
    await remove();
    await makeAgain();
    await admin.patch(`/clients/${tv.client_id}`, { resources: access() });
    assert.equal((await redeem(gatehouse.url, application, code)).status, 400);
    assert.equal((await poll(gatehouse, tv, device.device_code)).error, 'invalid_grant');
  });

  it('ends the access tokens for it everywhere, also when it is made anew (FIELD-E4)', async (test) => {
    test.after(resetClock);
    const grant_types = ['authorization_code', 'refresh_token', 'client_credentials'];
    const client = await registerApplication(gatehouse, { resources: access(), grant_types });
    const api = await registerClient(gatehouse, { introspects: [resource] });
    const { tokens } = await signIn(gatehouse, client, { scope: 'openid email tools:read' });
    const own = await postForm(`${gatehouse.url}/token`, { grant_type: 'client_credentials', resource }, client);
    const { access_token } = (await own.json()) as { access_token: string };
    const both = [tokens.access_token, access_token];
    const areActive = (who: RegisteredClient) =>
      Promise.all(both.map(async (token) => (await introspect(gatehouse, who, token))['active']));
    const userinfo = async (): Promise<number> => {
      const headers = { authorization: `Bearer ${tokens.access_token}` };
      return (await fetch(`${gatehouse.url}/userinfo`, { headers })).status;
    };
    const listed = async () => (await admin.get(`/clients/${client.client_id}/tokens`)).body.items.length;
    const state = async () => [await areActive(client), await areActive(api), await userinfo(), await listed()];
    assert.deepEqual(await state(), [[true, true], [true, true], 200, 2]);

    assert.equal((await admin.patch(`/clients/${application.client_id}`, { resources: [other] })).status, 200);
    await remove(client);
    const [ofClient, , status, count] = await state();
    assert.deepEqual([ofClient, status, count], [[false, false], 401, 0]);

    moveClock(2);
    await makeAgain(client);
    assert.equal((await admin.patch(`/clients/${api.client_id}`, { introspects: [resource] })).status, 200);
    assert.deepEqual(await state(), [[false, false], [false, false], 401, 0]);
    const fresh = await postForm(`${gatehouse.url}/token`, { grant_type: 'client_credentials', resource }, client);
    const { access_token: new_token } = (await fresh.json()) as { access_token: string };
    assert.equal((await introspect(gatehouse, api, new_token))['active'], true);
    assert.equal(await listed(), 1);
  });

  it('is taken out of consents, so the person is asked again when it is made anew (FIELD-E4)', async () => {
    const how = { scope: 'openid tools:read', parameters: { resource }, person };
    await signIn(gatehouse, application, how);
    const consentsOf = async () => {
      const { account_id } = (await admin.get('/accounts')).body.items[0]!;
      const { items } = (await admin.get(`/accounts/${account_id}/consents`)).body;
      return items.find(({ client_id }) => client_id === application.client_id);
    };
    assert.deepEqual((await consentsOf())?.['resources'], [{ resource, scopes: ['tools:read'], claims: [] }]);
    await remove();
    await makeAgain();
    const { resources, openid_scopes } = (await consentsOf())!;
    assert.deepEqual([resources, openid_scopes], [[], ['openid']]);
    const silent = { ...how, parameters: { resource, prompt: 'none' } };
    const { callback } = await requestCode(gatehouse, application, silent);
    assert.equal(callback.searchParams.get('error'), 'consent_required');
  });

  it('takes along that its API may read the person’s data at userinfo (FIELD-E4)', async () => {
    const how = { scope: 'openid email tools:read', person };
    const { tokens } = await signIn(gatehouse, application, how);
    assert.equal(decodeJwt(tokens.access_token).aud?.length, 2);
    await remove();
    await makeAgain();
    const { database } = gatehouse;
    for (const [table, column] of [['grants', 'payload'] as const, ['consents', 'scopes'] as const]) {
      const rows = await database
        .selectFrom(table)
        .selectAll()
        .where('client_id', '=', application.client_id)
        .execute();
      const resources = rows.map((row) => (row as Record<string, { resources?: object }>)[column]!.resources ?? {});
      assert.ok(rows.length > 0 && resources.every((its) => Object.keys(its).length === 0), table);
    }
    const answer = await fetch(`${gatehouse.url}/userinfo`, {
      headers: { authorization: `Bearer ${tokens.access_token}` },
    });
    assert.ok(!(await answer.text()).includes('@'));
    const { callback } = await requestCode(gatehouse, application, { ...how, parameters: { prompt: 'none' } });
    assert.equal(callback.searchParams.get('error'), 'consent_required');
  });

  it('leaves the rights for other resources of the same grant (FIELD-E4)', async () => {
    const query = new URLSearchParams([
      ['client_id', application.client_id],
      ['response_type', 'code'],
      ['redirect_uri', REDIRECT_URI],
      ['scope', `openid tools:read ${other.scopes[0]}`],
      ['resource', resource],
      ['resource', other.resource],
      ['code_challenge', sha256('v'.repeat(43)).toString('base64url')],
      ['code_challenge_method', 'S256'],
    ]);
    const callback = await person.authorize(`${gatehouse.issuer}/authorize?${query}`);
    const code = { code: callback.searchParams.get('code')!, verifier: 'v'.repeat(43) };
    const answer = await redeem(gatehouse.url, application, code, { resource: other.resource });
    const { refresh_token } = (await answer.json()) as { refresh_token: string };
    await remove();
    await makeAgain();
    const its = await refresh(refresh_token, { resource: other.resource });
    assert.deepEqual([its.status, its.body['scope']], [200, other.scopes[0]], JSON.stringify(its.body));
    const gone = await refresh(String(its.body['refresh_token']), { resource });
    assert.deepEqual([gone.status, gone.body['error']], [400, 'invalid_target']);
  });

  it('gets no right from a person who decides after it was deleted (FIELD-E4)', async () => {
    const { client_id } = application;
    const late = new Person(gatehouse, { remember: true });
    await signIn(gatehouse, application, { person: late });
    const query = new URLSearchParams({
      client_id,
      response_type: 'code',
      redirect_uri: REDIRECT_URI,
      scope: 'openid email tools:read',
      resource,
      code_challenge: 'x'.repeat(43),
      code_challenge_method: 'S256',
    });
    const page = await late.open(`${gatehouse.issuer}/authorize?${query}`);
    assert.match(page.page, /Read tools/);
    await remove();
    await late.finish(page);
    const { database } = gatehouse;
    const grants = await database.selectFrom('grants').select('payload').where('client_id', '=', client_id).execute();
    const consents = await database
      .selectFrom('consents')
      .select('scopes')
      .where('client_id', '=', client_id)
      .execute();
    assert.ok(grants.length > 0 && consents.length > 0);
    assert.ok(JSON.stringify(consents).includes('email'), 'The decision is stored.');
    assert.ok(!JSON.stringify([grants, consents]).includes(resource));
  });

  it('can be made anew only when all rights for it have ended, whoever ends them (FIELD-E4)', async () => {
    const { tokens } = await signIn(gatehouse, application, { scope: 'openid tools:read', parameters: { resource } });
    const { database } = gatehouse;
    await remove();
    // as if the node had stopped before it was done
    const ended = database.updateTable('ended_resources').set({ completed_at: null });
    await ended.where('identifier', '=', resource).execute();
    const trail = await openTrail(database);
    const left = database.selectFrom('ended_resources').select('identifier').where('completed_at', 'is', null);
    await endRights({ database, trail }, { milliseconds: 0 });
    assert.deepEqual(await left.execute(), [{ identifier: resource }]);
    await endRights({ database, trail }, { milliseconds: 10_000 });
    assert.deepEqual(await left.execute(), []);
    await makeAgain();
    assert.equal((await refresh(tokens.refresh_token!)).status, 400);
  });

  it('is remembered by its name for two days, longer than any token lives (FIELD-E4)', async () => {
    await remove();
    const { database } = gatehouse;
    const remembered = database.selectFrom('ended_resources').select('scope').where('identifier', '=', resource);
    await forgetEndedNames(database);
    assert.equal((await remembered.execute()).length, 1);
    const ended = database.updateTable('ended_resources').set({ completed_at: new Date(Date.now() - 49 * 3_600_000) });
    await ended.where('identifier', '=', resource).execute();
    await forgetEndedNames(database);
    assert.deepEqual(await remembered.execute(), []);
  });

  it('can not be made anew while rights for it are left (FIELD-E4)', async () => {
    await signIn(gatehouse, application, { scope: 'openid tools:read', parameters: { resource } });
    const holder = new pg.Client({ connectionString: gatehouse.databaseUrl });
    await holder.connect();
    await holder.query('begin');
    await holder.query(`select from grants where client_id = '${application.client_id}' for update`);
    await remove();
    const early = await admin.post('/resources', { identifier: resource, scopes });
    await holder.query('rollback');
    await holder.end();
    assert.equal(early.status, 409, early.text);
    assert.match(early.text, /still ending the rights for the deleted resource/);
    await makeAgain();
  });

  it('leaves a record of the rights that have ended (FIELD-E4)', async () => {
    await signIn(gatehouse, application, { scope: 'openid tools:read', parameters: { resource }, person });
    await remove();
    const path = `/audit-events?event=resource.rights_ended&resource=${encodeURIComponent(resource)}&from=${new Date(Date.now() - 60_000).toISOString()}`;
    await eventually(async () => (await admin.get(path)).body.items.length === 1);
    const [event] = (await admin.get(path)).body.items;
    assert.deepEqual(event!['details'], { resource, grants: 1, tokens: 2, consents: 1 });
  });

  it('of many thousands of grants ends all of them (FIELD-E4)', async () => {
    const { database } = gatehouse;
    const { account_id } = await database.selectFrom('accounts').select('account_id').executeTakeFirstOrThrow();
    const now = new Date();
    const row = (index: number) => ({
      grant_id: sha256(`${resource} ${index}`),
      account_id,
      client_id: application.client_id,
      payload: json({ resources: { [resource]: 'tools:read', ...(index % 2 === 0 && { [other.resource]: 'x' }) } }),
      created_at: now,
      expires_at: new Date(now.getTime() + 3_600_000),
    });
    for (const part of [0, 1_250]) {
      await database
        .insertInto('grants')
        .values(Array.from({ length: 1_250 }, (_, index) => row(part + index)))
        .execute();
    }
    await remove();
    const left = await database
      .selectFrom('grants')
      .select('payload')
      .where('client_id', '=', application.client_id)
      .execute();
    assert.equal(left.length, 1_250);
    assert.ok(
      left.every(({ payload }) => JSON.stringify(payload) === JSON.stringify({ resources: { [other.resource]: 'x' } })),
    );
  });
});

describe('a token that was exchanged', () => {
  let scene: ExchangeScene;
  before(async () => {
    scene = await ExchangeScene.open();
  });
  after(async () => {
    resetClock();
    await scene.stop();
  });

  it('ends with the API of the token that it was made from (FIELD-E4)', async () => {
    const { gatehouse, admin, shop } = scene;
    const backend = await scene.exchanger();
    const policies = [await scene.allow(backend)];
    // without a person, because a person's grant would end with the API too
    const form = { grant_type: 'client_credentials', resource: orders };
    const issued = await postForm(`${gatehouse.url}/token`, form, shop);
    const { access_token: subject } = (await issued.json()) as { access_token: string };
    const { body } = await exchange(gatehouse, backend, subject, { resource: billing });
    const isActive = async () => (await introspect(gatehouse, backend, body.access_token))['active'];
    const listed = async () => (await admin.get(`/clients/${backend.client_id}/tokens`)).body.items.length;
    assert.deepEqual([await isActive(), await listed()], [true, 1], JSON.stringify(body));

    const path = `/resources/${encodeURIComponent(orders)}`;
    const made = (await admin.get(path)).body;
    for (const policy of policies) assert.equal((await admin.delete(`/exchange-policies/${policy}`)).status, 204);
    const { database } = gatehouse;
    const holders = await database.selectFrom('client_resources').selectAll().where('resource', '=', orders).execute();
    for (const { client_id } of holders) await admin.patch(`/clients/${client_id}`, { resources: [] });
    assert.equal((await admin.delete(path)).status, 204);
    assert.deepEqual([await isActive(), await listed()], [false, 0]);
    moveClock(2);
    assert.equal((await admin.post('/resources', { identifier: orders, scopes: made['scopes'] })).status, 201);
    await admin.patch(`/clients/${shop.client_id}`, { resources: [{ resource: orders, scopes: ['orders:read'] }] });
    assert.deepEqual([await isActive(), await listed()], [false, 0]);
    await scene.allow(backend);
    const again = await exchange(gatehouse, backend, subject, { resource: billing });
    assert.equal(again.body.error, 'invalid_request', JSON.stringify(again.body));
  });
});
