import assert from 'node:assert/strict';
import { request } from 'node:http';
import { once } from 'node:events';
import { after, before, describe, it } from 'node:test';
import { basic } from '../support/client/code_flow.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';

describe('token requests that no honest client sends', () => {
  let gatehouse: Gatehouse;
  let authorization: string;
  before(async () => {
    gatehouse = await startGatehouse();
    authorization = basic(gatehouse.demo.client_id, gatehouse.demo.client_secret);
  });
  after(() => gatehouse.stop());

  const FORM = 'application/x-www-form-urlencoded';
  const send = async (body: string | Buffer, type = FORM, headers: Record<string, string> = {}) => {
    const response = await fetch(`${gatehouse.url}/token`, {
      method: 'POST',
      headers: { authorization, 'content-type': type, ...headers },
      body: new Uint8Array(Buffer.from(body)),
    });
    const text = await response.text();
    return { status: response.status, headers: response.headers, text };
  };
  const errorOf = ({ text }: { text: string }): string => (JSON.parse(text) as { error: string }).error;

  for (const [what, body] of Object.entries({
    'grant_type twice': 'grant_type=client_credentials&grant_type=refresh_token',
    'scope twice': 'grant_type=client_credentials&scope=notes:read&scope=notes:write',
    'grant_type as an array': 'grant_type[]=client_credentials',
    'grant_type as an object': 'grant_type[a]=client_credentials',
    'a grant_type with a NUL': 'grant_type=client_credentials%00',
    'no grant_type': 'scope=notes:read',
    'an empty body': '',
    'a NUL in the scope': 'grant_type=client_credentials&scope=notes:read%00',
    'a NUL in the resource': 'grant_type=client_credentials&resource=https://api.example.com%00',
    'bytes that are no UTF-8': Buffer.concat([
      Buffer.from('grant_type=client_credentials&scope='),
      Buffer.from([0xff, 0xfe]),
    ]),
    'a broken percent code': 'grant_type=client_credentials&scope=%zz',
    'a scope of 20,000 characters (CVE-2026-9704)': `grant_type=client_credentials&scope=${'x'.repeat(20_000)}`,
    'a scope of 5,000 words (CVE-2026-9704)': `grant_type=client_credentials&scope=${'x+'.repeat(5_000)}`,
    'a resource of 50,000 characters': `grant_type=client_credentials&resource=https://a.example/${'x'.repeat(50_000)}`,
    'a line break in the scope': 'grant_type=client_credentials&scope=notes:read%0d%0aset-cookie:x=1',
    'SQL in the scope': "grant_type=client_credentials&scope=' or 1=1;--",
    'half a surrogate in the scope': 'grant_type=client_credentials&scope=%ed%a0%80',
    'a code of 100,000 characters': `grant_type=authorization_code&redirect_uri=x&code=${'x'.repeat(100_000)}`,
    'a code with a NUL': 'grant_type=authorization_code&redirect_uri=x&code_verifier=x&code=a%00b',
    'a refresh token of 50,000 characters': `grant_type=refresh_token&refresh_token=${'x'.repeat(50_000)}`,
    'a client_id with a NUL': 'grant_type=client_credentials&client_id=a%00b',
    'a refresh token that is a JWT': 'grant_type=refresh_token&refresh_token=e30.e30.e30',
  })) {
    it(`refuses ${what} with an OAuth error, gives no token and does not break`, async () => {
      const answer = await send(body);
      assert.equal(answer.status >= 400 && answer.status < 500, true, `status ${answer.status} ${answer.text}`);
      assert.match(errorOf(answer), /^(invalid_|unsupported_|unauthorized_)/);
      assert.equal(answer.text.includes('access_token'), false);
      assert.equal(answer.headers.get('set-cookie'), null);
    });
  }

  it('does not know scope[]: like any unknown parameter it changes nothing (RFC 6749, 3.2)', async () => {
    const { status, text } = await send(
      `grant_type=client_credentials&scope[]=x&scope[a][b][c]=x&${'a[]=x&'.repeat(200)}`,
    );
    assert.equal(status, 200);
    assert.equal((JSON.parse(text) as { scope: string }).scope, gatehouse.demo.scope);
  });

  it('bounds a body: a megabyte is refused', async () => {
    const answer = await send(`grant_type=client_credentials&scope=${'x'.repeat(1_000_000)}`).catch(() => undefined);
    // a connection that is cut while it still sends is a refusal, too
    if (answer) assert.equal(answer.status >= 400 && answer.status < 500, true, `status ${answer.status}`);
    assert.equal((await send('grant_type=client_credentials')).status, 200);
  });

  it('takes forms alone: JSON is refused', async () => {
    const answer = await send(JSON.stringify({ grant_type: 'client_credentials' }), 'application/json');
    assert.deepEqual([answer.status, errorOf(answer)], [400, 'invalid_request']);
  });

  for (const method of ['GET', 'PUT', 'DELETE', 'PATCH']) {
    it(`gives no token to ${method}`, async () => {
      const url = `${gatehouse.url}/token?grant_type=client_credentials`;
      const response = await fetch(url, { method, headers: { authorization } });
      assert.equal([404, 405].includes(response.status), true, `status ${response.status}`);
      assert.equal((await response.text()).includes('access_token'), false);
    });
  }

  it('gives no token to TRACE (HTTP-02)', async () => {
    const { port } = new URL(gatehouse.url);
    const trace = request({ port, host: '127.0.0.1', path: '/token', method: 'TRACE', headers: { authorization } });
    trace.end();
    const [response] = (await once(trace, 'response')) as [{ statusCode: number; resume(): void }];
    response.resume();
    assert.equal([400, 404, 405, 501].includes(response.statusCode), true, `status ${response.statusCode}`);
  });

  it('reads no parameters from the query of a POST', async () => {
    const response = await fetch(`${gatehouse.url}/token?grant_type=client_credentials`, {
      method: 'POST',
      headers: { authorization, 'content-type': FORM },
      body: '',
    });
    assert.equal(response.status, 400);
  });

  it('is not led astray by X-HTTP-Method-Override (HTTP-06)', async () => {
    assert.equal(
      (await send('grant_type=client_credentials', FORM, { 'x-http-method-override': 'DELETE' })).status,
      200,
    );
  });

  it('lets no cache store an answer: tokens and errors carry Cache-Control: no-store', async () => {
    for (const body of [
      'grant_type=client_credentials',
      'grant_type=urn:evil',
      'grant_type=refresh_token&refresh_token=x',
    ]) {
      assert.equal((await send(body)).headers.get('cache-control'), 'no-store', body);
    }
    const unauthenticated = await fetch(`${gatehouse.url}/token`, {
      method: 'POST',
      body: new URLSearchParams({ a: 'b' }),
    });
    assert.equal(unauthenticated.headers.get('cache-control'), 'no-store');
  });

  it('tells nothing about itself in an error: no stack, no path, no database', async () => {
    const answers = await Promise.all(
      ['grant_type=urn:evil', 'grant_type=authorization_code&code=a%00b&redirect_uri=x'].map((body) => send(body)),
    );
    for (const { text } of answers) assert.doesNotMatch(text, /at .*\(|node_modules|\/work\/|postgres|invalid byte/i);
  });
});
