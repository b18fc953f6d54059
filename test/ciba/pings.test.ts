import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { after, before, beforeEach, describe, it } from 'node:test';
import * as openid from 'openid-client';
import { ask, askRaw, decide, poll, registerTill } from '../support/client/backchannel.ts';
import { configure } from '../support/client/code_flow.ts';
import { everythingStored } from '../support/node/stored_values.ts';
import { startGatehouse, type Gatehouse } from '../support/node/gatehouse.ts';
import { eventually, type RegisteredClient } from '../support/node/operator.ts';
import { Person } from '../support/person/person.ts';

interface Ping {
  readonly path: string | undefined;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

interface Pinged extends RegisteredClient {
  readonly path: string;
}

const TOKEN = 'bearer-token.chosen~by+the/client==';
const A_WHILE_MILLISECONDS = 10_000;

describe('pings (CIBA)', () => {
  let gatehouse: Gatehouse;
  let endpoint: Server;
  let url: string;
  let till: Pinged;
  let person: Person;
  let clients = 0;
  const came: Ping[] = [];
  let answer: RequestListener;
  before(async () => {
    endpoint = createServer((request, response) => {
      void text(request).then((body) => {
        came.push({ path: request.url, headers: request.headers, body });
        answer(request, response);
      });
    }).listen(0, '127.0.0.1');
    await once(endpoint, 'listening');
    url = `http://127.0.0.1:${(endpoint.address() as AddressInfo).port}`;
    gatehouse = await startGatehouse({ environment: { GATEHOUSE_EGRESS_ALLOW: url, LOG_LEVEL: 'trace' } });
    till = await register();
    person = new Person(gatehouse);
  });
  after(async () => {
    await gatehouse.stop();
    endpoint.close();
    endpoint.closeAllConnections();
  });
  beforeEach(() => {
    answer = (_, response) => void response.writeHead(204).end();
  });

  /** Each has a path of its own: what is still being sent to another test’s client is none of its pings. */
  const register = async (): Promise<Pinged> => {
    const path = `/told/${++clients}`;
    const client = await registerTill(gatehouse, {
      backchannel_token_delivery_mode: 'ping',
      backchannel_client_notification_endpoint: `${url}${path}`,
    });
    return { ...client, path };
  };
  const pingsOf = ({ path }: Pinged) => came.filter((ping) => ping.path === path);
  const pinged = async (client: Pinged): Promise<Ping> => {
    await eventually(() => Promise.resolve(pingsOf(client).length > 0), A_WHILE_MILLISECONDS);
    return pingsOf(client)[0]!;
  };
  const eventsOf = (event: string, { client_id }: RegisteredClient) =>
    gatehouse.database
      .selectFrom('audit_events')
      .select('details')
      .where('event', '=', event)
      .where('client_id', '=', client_id)
      .execute();
  const settled = async (event: string, client: RegisteredClient) => {
    await eventually(async () => (await eventsOf(event, client)).length > 0, A_WHILE_MILLISECONDS);
    return (await eventsOf(event, client))[0]!.details;
  };

  it('tell a client when its tokens are there, with the bearer token that it chose, and it fetches them at once', async () => {
    const config = await configure(gatehouse, till);
    const parameters = { scope: 'openid', login_hint: gatehouse.account.email, client_notification_token: TOKEN };
    const asked = await openid.initiateBackchannelAuthentication(config, parameters);
    assert.equal((await poll(gatehouse, till, asked)).error, 'authorization_pending', 'it may poll as well');
    assert.equal(pingsOf(till).length, 0);
    await decide(gatehouse, asked, 'approve', person);
    const { headers, body } = await pinged(till);
    assert.equal(headers.authorization, `Bearer ${TOKEN}`);
    assert.equal(headers['content-type'], 'application/json');
    assert.deepEqual(JSON.parse(body), { auth_req_id: asked.auth_req_id });
    const tokens = await openid.genericGrantRequest(config, 'urn:openid:params:grant-type:ciba', {
      auth_req_id: asked.auth_req_id,
    });
    assert.equal(typeof tokens.access_token, 'string');
    assert.equal((await settled('message.delivered', till))['kind'], 'backchannel_ping');
    assert.equal(pingsOf(till).length, 1);
  });

  it('report a refusal, too', async () => {
    const client = await register();
    const asked = await ask(gatehouse, client, { client_notification_token: TOKEN });
    await decide(gatehouse, asked, 'deny', person);
    assert.deepEqual(JSON.parse((await pinged(client)).body), { auth_req_id: asked.auth_req_id });
    assert.equal((await poll(gatehouse, client, asked)).error, 'access_denied');
  });

  it('take any good answer, and read nothing into it (fapi-ciba-id1-ping-backchannel-notification-endpoint-response-has-body)', async () => {
    const client = await register();
    answer = (_, response) =>
      void response.writeHead(200, { 'content-type': 'application/json' }).end('{"error":"access_denied"}');
    const asked = await ask(gatehouse, client, { client_notification_token: TOKEN });
    await decide(gatehouse, asked, 'approve', person);
    await settled('message.delivered', client);
    assert.equal((await poll(gatehouse, client, asked)).status, 200);
    assert.equal(pingsOf(client).length, 1);
  });

  for (const status of [401, 403]) {
    it(`are not sent again to who refuses the token (fapi-ciba-id1-ping-backchannel-notification-endpoint-response-${status})`, async () => {
      const client = await register();
      answer = (_, response) => void response.writeHead(status).end();
      const asked = await ask(gatehouse, client, { client_notification_token: TOKEN });
      await decide(gatehouse, asked, 'approve', person);
      const { attempts, reason } = await settled('message.failed', client);
      assert.deepEqual([attempts, reason], [1, `status ${status}`]);
      assert.equal((await poll(gatehouse, client, asked)).status, 200, 'the tokens are there all the same');
      const { rows } = await waiting(client);
      assert.equal(rows, 0);
      assert.equal(pingsOf(client).length, 1);
    });
  }

  it('follow no redirect, and end with it (fapi-ciba-id1-ping-backchannel-notification-endpoint-return-redirect-request, FIELD-C14c)', async () => {
    for (const status of [301, 307]) {
      const client = await register();
      answer = (_, response) => void response.writeHead(status, { location: `${url}/elsewhere` }).end();
      const asked = await ask(gatehouse, client, { client_notification_token: TOKEN });
      await decide(gatehouse, asked, 'approve', person);
      const { attempts, reason } = await settled('message.failed', client);
      assert.deepEqual([attempts, reason], [1, 'redirect_refused']);
      assert.equal((await waiting(client)).rows, 0);
      assert.equal(pingsOf(client).length, 1);
      assert.equal((await poll(gatehouse, client, asked)).status, 200, 'the tokens are there all the same');
    }
    assert.equal(
      came.some(({ path }) => path === '/elsewhere'),
      false,
    );
  });

  it('end when the client has fetched the tokens (FIELD-C14c)', async () => {
    const client = await register();
    answer = (_, response) => void response.writeHead(503).end();
    const asked = await ask(gatehouse, client, { client_notification_token: TOKEN });
    await decide(gatehouse, asked, 'approve', person);
    await pinged(client);
    assert.equal((await poll(gatehouse, client, asked)).status, 200);
    const sent = pingsOf(client).length;
    await eventually(async () => (await waiting(client)).rows === 0, A_WHILE_MILLISECONDS);
    assert.equal(pingsOf(client).length, sent);
    assert.equal((await eventsOf('message.failed', client)).length, 0);
  });

  it('end when the client has read the refusal, and not with a poll before it (FIELD-C14c)', async () => {
    const client = await register();
    answer = (_, response) => void response.writeHead(503).end();
    const asked = await ask(gatehouse, client, { client_notification_token: TOKEN });
    assert.equal((await poll(gatehouse, client, asked)).error, 'authorization_pending');
    await decide(gatehouse, asked, 'deny', person);
    await pinged(client);
    await eventually(async () => pingsOf(client).length === 2, A_WHILE_MILLISECONDS);
    assert.equal((await poll(gatehouse, client, asked)).error, 'access_denied');
    const sent = pingsOf(client).length;
    await eventually(async () => (await waiting(client)).rows === 0, A_WHILE_MILLISECONDS);
    assert.equal(pingsOf(client).length, sent);
  });

  it('are sent again where the client’s server was in trouble', async () => {
    const client = await register();
    answer = (_, response) => void response.writeHead(pingsOf(client).length === 1 ? 503 : 204).end();
    const asked = await ask(gatehouse, client, { client_notification_token: TOKEN });
    await decide(gatehouse, asked, 'approve', person);
    assert.equal((await settled('message.delivered', client))['attempts'], 2);
    const [first, second] = pingsOf(client);
    assert.equal(first!.body, second!.body);
  });

  it('are not sent to a client that was revoked after its request', async () => {
    const client = await register();
    answer = (_, response) => void response.writeHead(503).end();
    const asked = await ask(gatehouse, client, { client_notification_token: TOKEN });
    await decide(gatehouse, asked, 'approve', person);
    await pinged(client);
    const { status } = await gatehouse.adminCall('POST', `/clients/${client.client_id}/revoke`, { reason: 'A test' });
    assert.equal(status, 200);
    const sent = pingsOf(client).length;
    await eventually(async () => (await waiting(client)).rows === 0, A_WHILE_MILLISECONDS);
    assert.equal(pingsOf(client).length, sent);
  });

  it('need a token that can be sent', async () => {
    for (const client_notification_token of ['', 'two words', 'line\r\nx-evil: 1', 'ü', 'x'.repeat(1_025)]) {
      const hinted = { scope: 'openid', login_hint: gatehouse.account.email };
      const { status, body } = await askRaw(gatehouse, till, { ...hinted, client_notification_token });
      assert.deepEqual([status, body.error], [400, 'invalid_request'], client_notification_token.slice(0, 20));
    }
    await ask(gatehouse, till, { client_notification_token: 'x'.repeat(1_024) });
  });

  it('leave neither the token nor the auth_req_id in clear, before or after', async () => {
    const client = await register();
    const secret = 'token-that-nobody-else-may-read';
    answer = (_, response) => void response.writeHead(503).end();
    const waits = await ask(gatehouse, client, { client_notification_token: secret });
    const decided = await ask(gatehouse, client, { client_notification_token: secret });
    await decide(gatehouse, decided, 'approve', person);
    await pinged(client);
    const stored = await everythingStored(gatehouse.database);
    assert.ok(stored.some(({ where }) => where === 'outbox.sealed'));
    assert.ok(stored.some(({ where }) => where === 'backchannel_requests.ping'));
    for (const value of [secret, waits.auth_req_id, decided.auth_req_id]) {
      assert.deepEqual(
        stored.filter((one) => one.text.includes(value)).map(({ where }) => where),
        [],
      );
      assert.equal(
        gatehouse.log.some((line) => line.includes(value)),
        false,
      );
    }
  });

  /** What the outbox still has for a client, and how many of those have been tried. */
  async function waiting({ client_id }: RegisteredClient): Promise<{ rows: number; postponed: number }> {
    const rows = await gatehouse.database
      .selectFrom('outbox')
      .select('attempts')
      .where('client_id', '=', client_id)
      .where('failed_at', 'is', null)
      .execute();
    return { rows: rows.length, postponed: rows.filter(({ attempts }) => attempts > 0).length };
  }
});
