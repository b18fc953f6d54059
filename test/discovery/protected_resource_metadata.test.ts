import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import * as oauth from 'oauth4webapi';
import { startGatehouse, TEST_MASTER_KEY, type Gatehouse } from '../support/node/gatehouse.ts';
import { registerResource } from '../support/node/operator.ts';
import { CLI, NODE, Processes } from '../support/node/process.ts';
import type { Json } from '../support/client/registration.ts';

for (const path of ['', '/id']) {
  describe(`protected resource metadata of an issuer ${path === '' ? 'without' : 'with'} a path`, () => {
    let gatehouse: Gatehouse;
    before(async () => {
      gatehouse = await startGatehouse({ path });
    });
    after(() => gatehouse.stop());

    for (const [name, endpoint, scope] of [
      ['userinfo', '/userinfo', 'openid'],
      ['the admin API', '/admin/v1', 'clients:read'],
    ] as const) {
      it(`is found for ${name}, by an independent client`, async () => {
        const resource = new URL(gatehouse.issuer + endpoint);
        const answer = await oauth.resourceDiscoveryRequest(resource, { [oauth.allowInsecureRequests]: true });
        assert.equal(answer.headers.get('access-control-allow-origin'), '*');
        const metadata = await oauth.processResourceDiscoveryResponse(resource, answer);
        assert.deepEqual(metadata.authorization_servers, [gatehouse.issuer]);
        assert.deepEqual(metadata.bearer_methods_supported, ['header']);
        assert.equal(metadata.scopes_supported?.includes(scope), true);
      });
    }

    it('is named in each challenge of the endpoint, with a token and without one (RFC 9728, 5.1)', async () => {
      const { origin } = new URL(gatehouse.issuer);
      const wellKnown = `${origin}/.well-known/oauth-protected-resource${path}`;
      for (const [endpoint, where] of [
        ['/userinfo', `${wellKnown}/userinfo`],
        ['/admin/v1/clients', `${wellKnown}/admin/v1`],
      ] as const) {
        for (const headers of [{}, { authorization: 'Bearer nonsense' }]) {
          const answer = await fetch(gatehouse.issuer + endpoint, { headers });
          assert.equal(answer.status, 401);
          const challenges = answer.headers.get('www-authenticate') ?? '';
          const named = [...challenges.matchAll(/(?:^|, )(Bearer|DPoP) [^]*?resource_metadata="([^"]+)"/g)];
          assert.equal(named.length >= 1, true, challenges);
          for (const [, , url] of named) assert.equal(url, where);
          await answer.body?.cancel();
        }
      }
      const found = (await (await fetch(`${wellKnown}/admin/v1`)).json()) as Json;
      assert.equal(found['resource'], `${gatehouse.issuer}/admin/v1`);
    });
  });
}

describe('the metadata of a resource of one’s own', () => {
  let gatehouse: Gatehouse;
  const processes = new Processes();
  before(async () => {
    gatehouse = await startGatehouse();
    await registerResource(gatehouse, 'reports');
  });
  after(async () => {
    await processes.end();
    await gatehouse.stop();
  });

  const document = (more: Json = {}): Json => ({
    resource: 'https://reports.example.com',
    authorization_servers: [gatehouse.issuer],
    scopes_supported: ['reports:read', 'reports:write'],
    bearer_methods_supported: ['header'],
    ...more,
  });

  it('is made by the admin API, with what the API says of DPoP', async () => {
    const path = `/resources/${encodeURIComponent('https://reports.example.com')}/metadata`;
    assert.deepEqual(await (await gatehouse.adminCall('GET', path)).json(), document());
    const required = {
      dpop_signing_alg_values_supported: ['ES256', 'Ed25519', 'EdDSA'],
      dpop_bound_access_tokens_required: true,
    };
    assert.deepEqual(await (await gatehouse.adminCall('GET', `${path}?dpop=required`)).json(), document(required));
    assert.equal((await gatehouse.adminCall('GET', `${path}?dpop=perhaps`)).status, 400);
    assert.equal((await gatehouse.adminCall('GET', '/resources/x/metadata')).status, 404);
  });

  it('is printed by the command line, which says where it belongs', async () => {
    const dataDir = await mkdtemp(join(tmpdir(), 'gatehouse-cli-'));
    const environment = {
      ISSUER: gatehouse.issuer,
      DATABASE_URL: gatehouse.databaseUrl,
      GATEHOUSE_MASTER_KEY: TEST_MASTER_KEY,
      GATEHOUSE_DATA_DIR: dataDir,
    };
    const run = (...args: string[]) => processes.run([NODE, CLI, 'resource-metadata', ...args], environment);
    const printed = await run('https://reports.example.com', '--dpop', 'supported');
    const supported = { dpop_signing_alg_values_supported: ['ES256', 'Ed25519', 'EdDSA'] };
    assert.deepEqual(JSON.parse(printed.stdout), document(supported));
    assert.match(
      printed.stderr,
      /Publish this at https:\/\/reports\.example\.com\/\.well-known\/oauth-protected-resource\n/,
    );
    const unknown = await run('https://nowhere.example.com');
    assert.equal(unknown.code, 1);
    assert.match(unknown.stderr, /Resource https:\/\/nowhere\.example\.com not found\./);
    await rm(dataDir, { recursive: true, force: true });
  });
});
