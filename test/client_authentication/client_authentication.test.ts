import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { basic, registerPublicApplication } from '../support/client/code_flow.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { bringSecret, registerClient, type RegisteredClient } from '../support/node/operator.ts';

describe('client authentication', () => {
  let gatehouse: Gatehouse;
  let client: RegisteredClient;
  before(async () => {
    gatehouse = await startGatehouse();
    client = await registerClient(gatehouse);
  });
  after(() => gatehouse.stop());

  const ask = async (form: Record<string, string>, authorization?: string) => {
    const response = await fetch(`${gatehouse.url}/token`, {
      method: 'POST',
      headers: authorization === undefined ? {} : { authorization },
      body: new URLSearchParams({ grant_type: 'client_credentials', ...form }),
    });
    const body = (await response.json()) as Record<string, string>;
    return { status: response.status, headers: response.headers, body };
  };

  it('refuses a wrong secret with 401, and says which scheme would do when Basic was tried', async () => {
    const { status, headers, body } = await ask({}, basic(client.client_id, 'wrong'));
    assert.deepEqual([status, body['error']], [401, 'invalid_client']);
    assert.match(headers.get('www-authenticate') ?? '', /^Basic /);
  });

  it('answers an unknown client and a wrong secret alike, so that the answer does not reveal which clients exist', async () => {
    const wrong = await ask({}, basic(client.client_id, 'wrong'));
    const unknown = await ask({}, basic('no-such-client', 'wrong'));
    assert.deepEqual(unknown.body, wrong.body);
    assert.equal(unknown.status, wrong.status);
    assert.equal(unknown.headers.get('www-authenticate'), wrong.headers.get('www-authenticate'));
  });

  it('answers them alike too when the secret comes in the body', async () => {
    const poster = await registerClient(gatehouse, { token_endpoint_auth_method: 'client_secret_post' });
    const wrong = await ask({ client_id: poster.client_id, client_secret: 'wrong' });
    const unknown = await ask({ client_id: 'no-such-client', client_secret: 'wrong' });
    assert.deepEqual([unknown.status, unknown.body], [wrong.status, wrong.body]);
    assert.deepEqual([wrong.status, wrong.body['error']], [401, 'invalid_client']);
  });

  it('takes a secret with one character changed, a longer and a shorter one for what they are', async () => {
    const { client_id, client_secret: right } = client;
    const flipped = right.slice(0, -1) + (right.endsWith('0') ? '1' : '0');
    for (const secret of [flipped, `${right}0`, right.slice(0, -1), right.toUpperCase(), ` ${right}`]) {
      const { status } = await ask({}, basic(client_id, secret));
      assert.equal(status, 401, `accepted ${secret.length} characters`);
    }
    assert.equal((await ask({}, basic(client_id, ''))).status, 400);
    assert.equal((await ask({}, basic(client_id, right))).status, 200);
  });

  it('refuses a confidential client that only names itself (TOK-A02)', async () => {
    const { status, body } = await ask({ client_id: client.client_id });
    assert.deepEqual([status, body['error']], [401, 'invalid_client']);
  });

  it('refuses a request that names no client at all', async () => {
    const { status, body } = await ask({});
    assert.equal(status >= 400 && status < 500, true);
    assert.match(body['error']!, /^invalid_(client|request)$/);
  });

  it('refuses two methods at once (RFC 6749, 2.3) (TOK-A04)', async () => {
    const { client_id, client_secret } = client;
    const { status, body } = await ask({ client_id, client_secret }, basic(client_id, client_secret));
    assert.equal(status >= 400 && status < 500, true);
    assert.match(body['error']!, /^invalid_(client|request)$/);
  });

  it('refuses a body that names another client than the header', async () => {
    const other = await registerClient(gatehouse);
    const { body } = await ask({ client_id: other.client_id }, basic(client.client_id, client.client_secret));
    assert.match(body['error']!, /^invalid_(client|request)$/);
  });

  it('takes the method that the client was registered for and no other (TOK-A06)', async () => {
    const { client_id, client_secret } = client;
    const inBody = await ask({ client_id, client_secret });
    assert.deepEqual([inBody.status, inBody.body['error']], [401, 'invalid_client']);

    const poster = await registerClient(gatehouse, { token_endpoint_auth_method: 'client_secret_post' });
    const inHeader = await ask({}, basic(poster.client_id, poster.client_secret));
    assert.deepEqual([inHeader.status, inHeader.body['error']], [401, 'invalid_client']);
  });

  it('refuses a public client that brings a secret', async () => {
    const { client_id } = await registerPublicApplication(gatehouse);
    const { body } = await ask({}, basic(client_id, 'anything'));
    assert.equal(body['error'], 'invalid_client');
  });

  for (const [what, header] of Object.entries({
    'no base64 (TOK-A08)': 'Basic !!!',
    'no colon': `Basic ${Buffer.from('nocolon').toString('base64')}`,
    'nothing after the scheme': 'Basic',
    'a broken percent code': `Basic ${Buffer.from('%zz:%zz').toString('base64')}`,
    'a NUL': `Basic ${Buffer.from('a\0b:c').toString('base64')}`,
    'bytes that are no UTF-8': `Basic ${Buffer.from([0xff, 0xfe, 0x3a, 0xff]).toString('base64')}`,
    'a percent-encoded NUL': `Basic ${Buffer.from('a%00b:c').toString('base64')}`,
    'another scheme': 'Negotiate abc',
    'a bearer token': 'Bearer abc',
  })) {
    it(`refuses an Authorization header with ${what}, and does not break`, async () => {
      const { status, body } = await ask({}, header);
      assert.equal(status >= 400 && status < 500, true, `status ${status}`);
      assert.match(body['error']!, /^invalid_(client|request)$/);
    });
  }

  describe('a secret that an operator brought along', () => {
    for (const secret of [
      'a secret with: colons & ampersands',
      'plus+plus%20percent=equals/slash"quote',
      'x'.repeat(200),
    ]) {
      it(`works with ${secret.slice(0, 40)}`, async () => {
        const { client_id } = await registerClient(gatehouse);
        await bringSecret(gatehouse, client_id, secret);
        assert.equal((await ask({}, basic(client_id, secret))).status, 200);
        assert.equal((await ask({}, basic(client_id, secret))).status, 200);
        assert.equal((await ask({}, basic(client_id, `${secret}x`))).status, 401);
      });
    }

    it('takes the place of the one before it', async () => {
      const { client_id, client_secret } = await registerClient(gatehouse);
      await bringSecret(gatehouse, client_id, 'brought along by hand');
      assert.equal((await ask({}, basic(client_id, client_secret))).status, 401);
    });
  });
});
