import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { makeProofKey, prove } from '../support/client/dpop.ts';
import { postForm, requestToken, startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';

const ROOT = join(import.meta.dirname, '../..');
const EXAMPLE = join(ROOT, 'examples/node/authorize.js');

interface Decision {
  readonly status: number;
  readonly claims?: { readonly client_id: string };
}
interface Example {
  createAuthorize(api: {
    issuer: string;
    audience: string;
  }): (request: IncomingMessage, scope: string) => Promise<Decision>;
}

describe("the API of the documentation's example", () => {
  let gatehouse: Gatehouse;
  let api: Server;

  before(async () => {
    gatehouse = await startGatehouse();
    const { createAuthorize } = (await import(EXAMPLE)) as Example;
    const authorize = createAuthorize({ issuer: gatehouse.issuer, audience: gatehouse.demo.resource });
    api = createServer((request, response) => {
      void authorize(request, 'notes:read').then(({ status, claims }) => {
        response.writeHead(status).end(claims?.client_id ?? '');
      });
    });
    api.listen(0, '127.0.0.1');
    await once(api, 'listening');
  });
  after(async () => {
    api.close();
    api.closeAllConnections();
    await gatehouse.stop();
  });

  const ask = (authorization?: string): Promise<Response> =>
    fetch(`http://127.0.0.1:${(api.address() as AddressInfo).port}`, {
      headers: authorization ? { authorization } : {},
    });

  it('is word for word the one that stands in examples/', async () => {
    const docs = await readFile(join(ROOT, 'docs/resource-servers.md'), 'utf8');
    assert.ok(docs.includes(await readFile(EXAMPLE, 'utf8')));
  });

  it('lets a token with the scope pass', async () => {
    const response = await ask(`Bearer ${await requestToken(gatehouse.url, gatehouse.demo, 'notes:read')}`);
    assert.equal(response.status, 200);
    assert.equal(await response.text(), gatehouse.demo.client_id);
  });

  it('refuses no token, a token without the scope, one for another API, and one that was changed', async () => {
    const writer = await requestToken(gatehouse.url, gatehouse.demo, 'notes:write');
    assert.equal((await ask()).status, 401);
    assert.equal((await ask(`Bearer ${writer}`)).status, 403);
    assert.equal((await ask(`Bearer ${await gatehouse.adminToken()}`)).status, 401);
    assert.equal((await ask(`Bearer ${writer.slice(0, -4)}AAAA`)).status, 401);
  });

  it('refuses a token that is bound to a key (DPoP) as a bearer token', async () => {
    const proof = await prove(await makeProofKey(), ['POST', `${gatehouse.issuer}/token`]);
    const form = { grant_type: 'client_credentials', scope: 'notes:read' };
    const answer = await postForm(`${gatehouse.url}/token`, form, gatehouse.demo, { DPoP: proof });
    const { access_token, token_type } = (await answer.json()) as { access_token: string; token_type: string };
    assert.equal(token_type, 'DPoP');
    assert.equal((await ask(`Bearer ${access_token}`)).status, 401);
  });

  it('serves without a failure when the signing key is rotated', async () => {
    const old = await requestToken(gatehouse.url, gatehouse.demo, 'notes:read');
    const rotated = await gatehouse.adminCall('POST', '/keys/rotate', { alg: 'ES256', reason: 'a test' });
    assert.equal(rotated.status, 200);
    const fresh = await requestToken(gatehouse.url, gatehouse.demo, 'notes:read');
    assert.equal((await ask(`Bearer ${old}`)).status, 200);
    assert.equal((await ask(`Bearer ${fresh}`)).status, 200);
  });
});
