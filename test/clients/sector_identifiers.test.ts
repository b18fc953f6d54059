import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { DEVICE_CODE } from '../../src/clients/metadata/flows.ts';
import { Admin } from '../support/client/admin.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';

const A = 'https://a.example.com/cb';
const B = 'https://b.example.com/cb';

describe('a sector_identifier_uri', () => {
  let gatehouse: Gatehouse;
  let admin: Admin;
  let outside: Server;
  let origin: string;
  /** What is found at each path, and how often it was asked for. */
  const documents = new Map<string, unknown>();
  const asked: string[] = [];
  before(async () => {
    outside = createServer((request, response) => {
      const path = request.url!;
      asked.push(path);
      if (path === '/moved') return void response.writeHead(302, { location: '/both' }).end();
      if (!documents.has(path)) return void response.writeHead(404).end('{}');
      response.setHeader('content-type', 'application/json').end(JSON.stringify(documents.get(path)));
    });
    outside.listen(0, '127.0.0.1');
    await once(outside, 'listening');
    origin = `http://127.0.0.1:${(outside.address() as AddressInfo).port}`;
    gatehouse = await startGatehouse({ environment: { GATEHOUSE_EGRESS_ALLOW: origin } });
    admin = await Admin.of(gatehouse);
    documents.set('/both', [A, B]);
  });
  after(async () => {
    outside.close();
    await gatehouse.stop();
  });

  const register = (path: string, metadata: Readonly<Record<string, unknown>> = {}) =>
    admin.post('/clients', {
      subject_type: 'pairwise',
      redirect_uris: [A, B],
      sector_identifier_uri: path.startsWith('/') ? origin + path : path,
      ...metadata,
    });

  it('is read when a client is registered with it, and stays with the client (oidcc-registration-sector-uri)', async () => {
    const { status, body } = await register('/both');
    assert.equal(status, 201);
    assert.equal(body['sector_identifier_uri'], `${origin}/both`);
    assert.ok(asked.includes('/both'));
  });

  it('vouches for a client without a redirect by its keys alone: no client joins a sector by a list that does not name it', async () => {
    const device = { redirect_uris: [], grant_types: [DEVICE_CODE], token_endpoint_auth_method: 'private_key_jwt' };
    const jwks_uri = `${origin}/keys`;
    documents.set('/theirs', [A, B]);
    const stranger = await register('/theirs', { ...device, jwks_uri });
    assert.equal(stranger.status, 400);
    assert.equal(stranger.body.errors?.[0]?.pointer, '/sector_identifier_uri');
    const keyless = await register('/theirs', { ...device, token_endpoint_auth_method: 'none' });
    assert.equal(keyless.status, 400);
    const half = await register('/both', { grant_types: ['authorization_code', DEVICE_CODE], jwks_uri });
    assert.equal(half.status, 400);
    documents.set('/own', [jwks_uri]);
    assert.equal((await register('/own', { ...device, jwks_uri })).status, 201);
    const borrowed = await admin.post('/clients', {
      jwks_uri,
      subject_type: 'pairwise',
      redirect_uris: [A],
      grant_types: ['authorization_code', DEVICE_CODE],
    });
    assert.equal(borrowed.status, 400, 'a host of redirect URIs is not enough where nobody comes back to them');
  });

  it('that does not list every redirect URI is refused (oidcc-registration-sector-bad)', async () => {
    documents.set('/one', [A, 'https://b.example.com/other']);
    const { status, body } = await register('/one');
    assert.equal(status, 400);
    assert.deepEqual(body.errors, [
      {
        pointer: '/sector_identifier_uri',
        detail:
          'must return a list of every redirect URI of the client, and of its jwks_uri if it needs no redirect URI',
      },
    ]);
  });

  documents.set('/object', { redirect_uris: [A, B] });
  documents.set('/numbers', [1, 2]);
  documents.set(
    '/huge',
    Array.from({ length: 20_000 }, () => A),
  );
  for (const [what, path] of Object.entries({
    'that is not there': '/nothing',
    'that leads elsewhere': '/moved',
    'that holds an object': '/object',
    'that holds numbers': '/numbers',
    'that holds too much': '/huge',
    'inside this server’s own network (CVE-2026-1180)': 'https://127.0.0.2/sector.json',
    'of a cloud’s metadata service': 'https://169.254.169.254/latest/meta-data',
    'over plain http': 'http://sector.example.com/sector.json',
    'with a password': 'https://user:password@sector.example.com/sector.json',
  })) {
    it(`${what} is refused`, async () => {
      const { status, body } = await register(path);
      assert.equal(status, 400);
      assert.equal(body.errors[0]!.pointer, '/sector_identifier_uri');
      assert.doesNotMatch(body.errors[0]!.detail, /ECONN|127\.0|169\.254|timed/);
    });
  }

  it('vouches for what a client is changed to as well', async () => {
    const { body } = await register('/both', { redirect_uris: [A] });
    const path = `/clients/${body.client_id}`;
    assert.equal((await admin.patch(path, { redirect_uris: [A, B] })).status, 200);
    assert.equal((await admin.patch(path, { redirect_uris: [A, 'https://c.example.com/cb'] })).status, 400);
    assert.equal((await admin.patch(path, { sector_identifier_uri: `${origin}/one` })).status, 400);
    assert.deepEqual((await admin.get(path)).body['redirect_uris'], [A, B]);
    documents.set('/later', [A, B]);
    assert.equal((await admin.patch(path, { sector_identifier_uri: `${origin}/later` })).status, 200);
  });

  it('is not asked for where a change has nothing to do with it', async () => {
    documents.set('/once', [A, B]);
    const { body } = await register('/once');
    documents.delete('/once');
    const path = `/clients/${body.client_id}`;
    assert.equal((await admin.patch(path, { client_name: 'Renamed' })).status, 200);
    assert.equal((await admin.patch(path, { redirect_uris: [B] })).status, 200);
    assert.equal(asked.filter((one) => one === '/once').length, 1);
  });

  it('is not fetched for an admin who may not change the client', async () => {
    const { body } = await register('/both', {
      grant_types: ['authorization_code', 'client_credentials'],
      resources: [{ resource: gatehouse.admin.resource, scopes: ['keys:rotate'] }],
    });
    const lesser = await admin.lesser('clients:write');
    const change = { sector_identifier_uri: `${origin}/never-asked` };
    assert.equal((await lesser.patch(`/clients/${body.client_id}`, change)).status, 403);
    assert.equal(asked.includes('/never-asked'), false);
  });
});
