import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';

describe('an admin API with a port of its own', () => {
  let gatehouse: Gatehouse;
  before(async () => {
    gatehouse = await startGatehouse({ environment: { GATEHOUSE_ADMIN_PORT: '9999' } });
  });
  after(() => gatehouse.stop());

  it('answers there', async () => {
    assert.equal((await gatehouse.adminCall('GET', '/clients')).status, 200);
  });

  it('is not found on the public port, with or without a token', async () => {
    const headers = { authorization: `Bearer ${await gatehouse.adminToken()}` };
    assert.equal((await fetch(`${gatehouse.url}/admin/v1/clients`, { headers })).status, 404);
  });

  it('gives no tokens and shows no pages on its own port', async () => {
    for (const path of ['/token', '/authorize', '/account', '/jwks']) {
      const response = await fetch(`${gatehouse.adminUrl}${path}`, { method: path === '/token' ? 'POST' : 'GET' });
      assert.ok([404, 405].includes(response.status), `${path} answered ${response.status}`);
    }
  });
});

describe('a request that nothing answers', () => {
  let gatehouse: Gatehouse;
  before(async () => {
    gatehouse = await startGatehouse();
  });
  after(() => gatehouse.stop());

  it('is told that there is nothing at this address', async () => {
    const response = await fetch(`${gatehouse.url}/nowhere`);
    assert.equal(response.status, 404);
    assert.equal(((await response.json()) as { error: string }).error, 'not_found');
  });

  it('is told so on a page where a browser asks, which does not repeat the address', async () => {
    const response = await fetch(`${gatehouse.url}/nowhere<script>`, { headers: { accept: 'text/html' } });
    assert.equal(response.status, 404);
    const page = await response.text();
    assert.match(page, /There is no such page/);
    assert.doesNotMatch(page, /nowhere/);
  });

  it('is told which methods there are where the method is what is wrong', async () => {
    for (const [method, path, allow] of [
      ['GET', '/token', 'POST'],
      ['GET', '/introspect', 'POST'],
      ['DELETE', '/token', 'POST'],
      ['PUT', '/authorize', 'GET, POST'],
      ['POST', '/jwks', 'GET'],
    ] as const) {
      const response = await fetch(gatehouse.url + path, { method });
      assert.equal(response.status, 405, `${method} ${path}`);
      assert.ok(response.headers.get('allow')?.startsWith(allow), `${method} ${path}`);
    }
  });

  it('does not take another method from a header (X-HTTP-Method-Override)', async () => {
    const headers = { 'x-http-method-override': 'POST' };
    assert.equal((await fetch(`${gatehouse.url}/token`, { headers })).status, 405);
  });
});
