import assert from 'node:assert/strict';
import { globSync } from 'node:fs';
import { basename, join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { decodeJwt } from 'jose';
import { sql, type Kysely } from 'kysely';
import { normalUri } from '../../src/base/uri.ts';
import { createDatabase } from '../../src/db/connection.ts';
import { Admin } from '../support/client/admin.ts';
import { BothPaths } from '../support/client/both_paths.ts';
import { redeem, registerApplication, requestCode, signIn } from '../support/client/code_flow.ts';
import { claimsOf, exchange, makePolicy, TOKEN_EXCHANGE } from '../support/client/exchanged_tokens.ts';
import { BANK, openBank, PAYMENT } from '../support/client/payments.ts';
import { emptyDatabase, patientPool } from '../support/node/database.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { registerClient, registerResource } from '../support/node/operator.ts';

const scopes = [{ name: 'tools:read', description: 'Read tools' }];

/** As registered, and in another way that clients write it. */
const PAIRS: readonly [string, string][] = [
  ['https://root.example.com', 'https://root.example.com/'],
  ['https://slash.example.com/', 'https://slash.example.com'],
  ['https://port.example.com:443/mcp', 'https://Port.example.com/mcp'],
  ['https://query.example.com/?tenant=a', 'HTTPS://query.example.com?tenant=a'],
];

describe('the identifier of a resource', () => {
  let gatehouse: Gatehouse;
  let admin: Admin;
  before(async () => {
    gatehouse = await startGatehouse();
    admin = await Admin.of(gatehouse);
    for (const [identifier] of PAIRS) {
      const { status, text } = await admin.post('/resources', { identifier, scopes });
      assert.equal(status, 201, text);
    }
  });
  after(() => gatehouse.stop());

  const pathOf = (identifier: string): string => `/resources/${encodeURIComponent(identifier)}`;

  for (const [registered, asked] of PAIRS) {
    it(`may be written ${asked} for ${registered}, and aud is as registered, on both paths (FIELD-C5)`, async () => {
      const both = new BothPaths(gatehouse);
      const client = await registerClient(gatehouse, { resources: [{ resource: registered, scopes: ['tools:read'] }] });
      const form = { grant_type: 'client_credentials', resource: asked };
      const { taken, lean, ordinary } = await both.compare([form, form], client, asked);
      assert.deepEqual([taken, lean.status], [true, 200]);
      for (const { body } of [lean, ordinary]) assert.equal(decodeJwt(String(body['access_token'])).aud, registered);
    });

    it(`may be written ${asked} for ${registered} at the authorization endpoint and later (FIELD-C5)`, async () => {
      const client = await registerApplication(gatehouse, {
        resources: [{ resource: registered, scopes: ['tools:read'] }],
      });
      const code = await requestCode(gatehouse, client, { scope: 'tools:read', parameters: { resource: asked } });
      const answer = await redeem(gatehouse.url, client, code, { resource: asked });
      const body = (await answer.json()) as { access_token: string; refresh_token: string };
      assert.equal(answer.status, 200, JSON.stringify(body));
      assert.equal(decodeJwt(body.access_token).aud, registered);
      const both = new BothPaths(gatehouse);
      const refresh = { grant_type: 'refresh_token', refresh_token: body.refresh_token, resource: asked };
      const { body: refreshed } = await both.lean(refresh, client);
      assert.equal(decodeJwt(String(refreshed['access_token'])).aud, registered);
    });
  }

  it('is one resource when a request names it twice in two ways (FIELD-C5)', async () => {
    const [registered, asked] = PAIRS[0]!;
    const client = await registerClient(gatehouse, { resources: [{ resource: registered, scopes: ['tools:read'] }] });
    const form = new URLSearchParams({ grant_type: 'client_credentials' });
    for (const resource of [registered, asked]) form.append('resource', resource);
    const authorization = `Basic ${Buffer.from(`${client.client_id}:${client.client_secret}`).toString('base64')}`;
    const answer = await fetch(`${gatehouse.url}/token`, { method: 'POST', headers: { authorization }, body: form });
    const { access_token } = (await answer.json()) as { access_token: string };
    assert.equal(decodeJwt(access_token).aud, registered);
  });

  it('with a path is another one with a slash at the end (FIELD-C5)', async () => {
    const resource = 'https://paths.example.com/mcp';
    for (const identifier of [resource, `${resource}/`])
      assert.equal((await admin.post('/resources', { identifier, scopes })).status, 201);
    const client = await registerClient(gatehouse, { resources: [{ resource, scopes: ['tools:read'] }] });
    const form = { grant_type: 'client_credentials', resource: `${resource}/` };
    const { status, body } = await new BothPaths(gatehouse).lean(form, client);
    assert.deepEqual([status, body['error']], [400, 'invalid_target']);
  });

  it('is found by an admin who writes it in another way, and can not be registered so (FIELD-C5)', async () => {
    for (const [registered, asked] of PAIRS) {
      const shown = await admin.get(pathOf(asked));
      assert.deepEqual([shown.status, shown.body['identifier']], [200, registered]);
      assert.equal((await admin.get(`${pathOf(asked)}/metadata`)).body['resource'], registered);
      const again = await admin.post('/resources', { identifier: asked.replace('HTTPS', 'https'), scopes });
      assert.equal(again.status, 409);
      assert.ok(again.text.includes(`${registered} already exists`), again.text);
      const from = new Date(Date.now() - 600_000).toISOString();
      const query = new URLSearchParams({ event: 'resource.created', resource: asked, from });
      assert.equal((await admin.get(`/audit-events?${query}`)).body.items.length, 1);
    }
  });

  it('is stored as registered in what an admin writes about clients, policies and types (FIELD-C5)', async () => {
    const [registered, asked] = PAIRS[0]!;
    const access = [{ resource: asked, scopes: ['tools:read'] }];
    const made = await admin.post('/clients', { resources: access, introspects: [asked] });
    const its = [{ resource: registered, scopes: ['tools:read'] }];
    assert.deepEqual([made.body['resources'], made.body['introspects']], [its, [registered]]);
    const changed = await admin.patch(`/clients/${made.body.client_id}`, { resources: access });
    assert.deepEqual(changed.body['resources'], its);
    const twice = await admin.post('/clients', { resources: [...access, ...its] });
    assert.equal(twice.status, 400, twice.text);
    const policy = await admin.post('/registration-policies', { name: 'ways', resources: access });
    assert.deepEqual(policy.body['resources'], its);
    const type = await admin.post('/authorization-details-types', {
      type: 'ways',
      title: 'Ways',
      schema: { type: 'object' },
      resources: [asked],
    });
    assert.deepEqual(type.body['resources'], [registered]);
  });

  it('is matched in policies of token exchange, by resource and by audience (FIELD-C5)', async () => {
    const [registered, asked] = PAIRS[0]!;
    const orders = await registerResource(gatehouse, 'orders');
    const trader = await registerClient(gatehouse, { grant_types: [TOKEN_EXCHANGE], resources: [] });
    await makePolicy(admin, 'exchange-policies', {
      client_id: trader.client_id,
      subject_resource: `${orders.resource}/`,
      resource: asked,
      scopes: [{ scope: 'tools:read', from: 'orders:read' }],
      mode: 'delegation',
    });
    const shop = await registerApplication(gatehouse, { resources: [orders] });
    const { tokens } = await signIn(gatehouse, shop, { scope: 'orders:read' });
    for (const name of ['resource', 'audience'])
      assert.equal(
        claimsOf(await exchange(gatehouse, trader, tokens.access_token, { [name]: asked }))['aud'],
        registered,
      );
  });

  it('does not hide the admin API from its guards when it is written in another way (FIELD-C5)', async () => {
    const own = new URL(gatehouse.admin.resource);
    const asked = `HTTP://${own.host}${own.pathname}`;
    assert.equal((await admin.delete(pathOf(asked))).status, 403);
    assert.equal((await admin.patch(pathOf(asked), { scopes })).status, 403);
    const access = [{ resource: asked, scopes: ['clients:write'] }];
    const policy = await admin.post('/registration-policies', { name: 'grab', resources: access });
    assert.equal(policy.status, 400, policy.text);
    const less = await admin.lesser('clients:write');
    const grabbed = await less.post('/clients', { resources: [{ resource: asked, scopes: ['keys:rotate'] }] });
    assert.equal(grabbed.status, 403, grabbed.text);
  });

  for (const suffix of [
    '/',
    '/userinfo',
    '/userinfo/',
    '/admin/v1/',
    '/api',
    '//USERINFO',
    '?x=1',
    '/%2575serinfo',
    '/userinfo;x',
    '/%00',
  ])
    it(`may not be <issuer>${suffix}, which looks like this server's own (FIELD-E5)`, async () => {
      const uri = gatehouse.issuer + suffix;
      await refuses(uri, /issuer/);
      await refuses(uri.replace('http:', 'https:'), /issuer/);
    });

  it('is written as URL parsers write it, so that no two registered ones are one URL (FIELD-E5)', async () => {
    await refuses('https:clear.example.com', /must be written as https:..clear.example.com/);
    await refuses('https://[0:0::1]/api', /must be written as/);
    await refuses('https://%63lear.example.com/', /must be written as/);
  });

  const refuses = async (uri: string, why: RegExp): Promise<void> => {
    const resource = await admin.post('/resources', { identifier: uri, scopes });
    assert.deepEqual([resource.status, /"pointer":"[^"]*identifier"/.test(resource.text)], [400, true], resource.text);
    assert.match(resource.text, why);
    const issuer = await admin.post('/trusted-issuers', {
      issuer: uri,
      display_name: 'Alike',
      jwks_uri: 'https://id.partner.example/jwks',
      algs: ['ES256'],
      purposes: ['jwt_bearer'],
    });
    assert.deepEqual([issuer.status, /"pointer":"[^"]*issuer"/.test(issuer.text)], [400, true], issuer.text);
    assert.match(issuer.text, why);
  };

  it('has the same normal form in the database (FIELD-C5)', async () => {
    const rows = await gatehouse.database.selectFrom('resources').select(['identifier', 'normal_form']).execute();
    for (const { identifier, normal_form } of rows) assert.equal(normal_form, normalUri(identifier));
    const more = [
      'http://a:80',
      'http://a:8080/',
      'https://a:80',
      'https://A.example:',
      'wss://a:443/x?y=/',
      'https://u@A.example',
      'https://[::1]:443',
      'api://Notes',
      'urn:example:Api',
      'x:y:z//',
      'https://a.example/B?C=D',
    ];
    for (const identifier of more) {
      const { rows: stored } = await sql<{ normal_form: string }>`
        insert into resources (identifier, scopes, access_token_ttl_seconds, signing_alg, created_at, updated_at)
        values (${identifier}, '[]', 60, 'ES256', now(), now()) returning normal_form`.execute(gatehouse.database);
      assert.equal(stored[0]!.normal_form, normalUri(identifier), identifier);
    }
  });
});

describe('a location in authorization details', () => {
  let gatehouse: Gatehouse;
  before(async () => {
    gatehouse = await startGatehouse();
  });
  after(() => gatehouse.stop());

  it('may be written in another way than the resource is registered (FIELD-C5)', async () => {
    const { treasury, shop } = await openBank(gatehouse);
    const detail = { ...PAYMENT, locations: [`${BANK}/`] };
    const form = { grant_type: 'client_credentials', authorization_details: JSON.stringify([detail]) };
    const { status, body } = await new BothPaths(gatehouse).lean(form, treasury);
    assert.equal(status, 200, JSON.stringify(body));
    const { aud, authorization_details } = decodeJwt(String(body['access_token']));
    assert.deepEqual([aud, authorization_details], [BANK, [{ ...PAYMENT, locations: [BANK] }]]);

    const parameters = { authorization_details: JSON.stringify([detail]), resource: `${BANK}/` };
    const code = await requestCode(gatehouse, shop, { scope: 'accounts:read', parameters });
    const answer = (await (await redeem(gatehouse.url, shop, code)).json()) as { access_token: string };
    const claims = decodeJwt(answer.access_token);
    assert.deepEqual([claims.aud, claims['authorization_details']], [BANK, authorization_details]);
  });
});

describe('the migration that makes identifiers of resources equal', () => {
  it('stops and names two resources that become one (FIELD-C5)', async () => {
    const clone = await emptyDatabase();
    const pool = patientPool(clone.url, 2);
    const database = createDatabase(pool);
    try {
      const paths = globSync(join(import.meta.dirname, '../../migrations/*.ts')).toSorted();
      const at = paths.findIndex((path) => basename(path).startsWith('1500_'));
      const migrate = async (path: string): Promise<void> => {
        const { up } = (await import(path)) as { up(db: Kysely<unknown>): Promise<void> };
        await up(database as unknown as Kysely<unknown>);
      };
      for (const path of paths.slice(0, at)) await migrate(path);
      for (const identifier of ['https://x.example', 'https://X.example:443/', 'https://y.example/a'])
        await sql`insert into resources (identifier, scopes, access_token_ttl_seconds, signing_alg, created_at, updated_at)
          values (${identifier}, '[]', 60, 'ES256', now(), now())`.execute(database);
      await assert.rejects(migrate(paths[at]!), ({ message }: Error) => {
        const both = ['https://x.example ', 'https://X.example:443/ '].every((one) => message.includes(one));
        return both && !message.includes('y.example');
      });
    } finally {
      await database.destroy();
      await clone.drop();
    }
  });
});
