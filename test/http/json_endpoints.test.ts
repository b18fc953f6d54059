import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';

/** What browsers and some HTTP libraries send. */
const ACCEPTS = ['text/html', 'text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8', 'text/html,*/*;q=0.1'];
const POSTED = ['/token', '/introspect', '/revoke', '/par', '/device_authorization', '/backchannel_authentication'];

describe('an endpoint that only programs call', () => {
  let gatehouse: Gatehouse;
  before(async () => {
    gatehouse = await startGatehouse({ environment: { GATEHOUSE_FAILED_AUTHENTICATIONS_PER_MINUTE: '1000' } });
  });
  after(() => gatehouse.stop());

  const assertJson = async (answer: Response, status: number, what: string): Promise<void> => {
    const text = await answer.text();
    assert.equal(answer.status, status, `${what}: ${text}`);
    assert.match(answer.headers.get('content-type') ?? '', /^application\/json/, what);
    const { error, error_description: description } = JSON.parse(text) as Record<string, unknown>;
    assert.equal(typeof error, 'string', what);
    assert.equal(typeof description, 'string', what);
  };

  for (const path of POSTED) {
    it(`answers errors as JSON whatever the Accept header says: ${path} (FIELD-C16)`, async () => {
      const { client_id } = gatehouse.demo;
      const wrong = new URLSearchParams({
        client_id,
        client_secret: 'wrong',
        token: 'x',
        grant_type: 'client_credentials',
      });
      for (const accept of ACCEPTS) {
        const send = (init: Omit<RequestInit, 'headers'>, headers: Readonly<Record<string, string>> = {}) =>
          fetch(gatehouse.url + path, { ...init, headers: { accept, ...headers } });
        await assertJson(await send({ method: 'POST', body: wrong }), 401, `a wrong secret, ${accept}`);
        const nobody = new URLSearchParams({ client_id: 'client_of_nobody' });
        await assertJson(await send({ method: 'POST', body: nobody }), 401, `an unknown client, ${accept}`);
        const large = new URLSearchParams({ client_id, scope: 'x'.repeat(60_000) });
        await assertJson(await send({ method: 'POST', body: large }), 413, `a body that is too large, ${accept}`);
        await assertJson(await send({ method: 'GET' }), 405, `another method, ${accept}`);
        const json = { 'content-type': 'application/json' };
        await assertJson(await send({ method: 'POST', body: '{}' }, json), 400, `another type of body, ${accept}`);
      }
    });
  }

  it('answers as JSON while the node refuses requests of an address (FIELD-C16)', async () => {
    const few = await startGatehouse({
      environment: { GATEHOUSE_ADDRESS_REQUESTS_PER_SECOND: '1', GATEHOUSE_ADDRESS_REQUESTS_BURST: '2' },
    });
    try {
      for (const path of POSTED) {
        let answer: Response;
        do {
          answer = await fetch(few.url + path, { method: 'POST', headers: { accept: ACCEPTS[0]! } });
          if (answer.status !== 429) await answer.body?.cancel();
        } while (answer.status !== 429);
        await assertJson(answer, 429, path);
      }
      const page = await fetch(`${few.url}/authorize`, { headers: { accept: ACCEPTS[0]! } });
      assert.match(page.headers.get('content-type') ?? '', /^text\/html/);
      await page.body?.cancel();
    } finally {
      await few.stop();
    }
  });

  it('leaves pages to the endpoints that browsers open (FIELD-C16)', async () => {
    for (const path of ['/authorize', '/logout?id_token_hint=x', '/device/none', '/nowhere']) {
      const page = await fetch(gatehouse.url + path, { headers: { accept: ACCEPTS[0]! } });
      assert.match(page.headers.get('content-type') ?? '', /^text\/html/, path);
      await page.body?.cancel();
    }
  });
});
