import assert from 'node:assert/strict';
import { Agent, request, type OutgoingHttpHeaders } from 'node:http';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { after, before, describe, it } from 'node:test';
import { basic } from '../support/client/code_flow.ts';
import { requestToken, type Gatehouse } from '../support/node/gatehouse.ts';
import { registerClient, type RegisteredClient } from '../support/node/operator.ts';
import { startPair, type Pair } from '../support/node/pair.ts';

const TIMES = 20;

interface Asked {
  readonly path: string;
  readonly headers: OutgoingHttpHeaders;
  readonly body: string;
  readonly status: number;
}

/** Only a request that was refused before it had arrived may cost its sender the connection. */
describe('a connection whose requests arrive whole', () => {
  let pair: Pair;
  let gatehouse: Gatehouse;
  let client: RegisteredClient;
  before(async () => {
    pair = await startPair();
    gatehouse = pair.a;
    client = await registerClient(gatehouse, { introspects: [gatehouse.demo.resource] });
  });
  after(() => pair.stop());

  /** Sends the same request again and again, one at a time; resolves with the connections that were needed. */
  const connectionsFor = async ({ path, headers, body, status }: Asked, inParts: boolean): Promise<number> => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const connections = new Set<unknown>();
    for (let time = 0; time < TIMES; time++) {
      const { promise, resolve, reject } = Promise.withResolvers<string>();
      const sent = request(`${gatehouse.url}${path}`, {
        agent,
        method: 'POST',
        headers: {
          'content-type': 'application/x-www-form-urlencoded',
          'content-length': Buffer.byteLength(body),
          ...headers,
        },
      });
      sent.on('socket', (socket) => connections.add(socket)).on('error', reject);
      sent.on('response', (response) => {
        assert.equal(response.statusCode, status, path);
        assert.equal(response.headers.connection, 'keep-alive', path);
        text(response).then(resolve, reject);
      });
      if (inParts) {
        sent.flushHeaders();
        await sleep(5);
        sent.write(body.slice(0, 5));
        await sleep(5);
        sent.end(body.slice(5));
      } else sent.end(body);
      await promise;
    }
    agent.destroy();
    return connections.size;
  };

  it('serves them all, with any kind of answer', async () => {
    const authorization = basic(client.client_id, client.client_secret);
    const token = await requestToken(gatehouse.url, client);
    const asked: readonly Asked[] = [
      { path: '/token', headers: { authorization }, body: 'grant_type=client_credentials', status: 200 },
      { path: '/token?ordinary', headers: { authorization }, body: 'grant_type=client_credentials', status: 200 },
      { path: '/token', headers: { authorization }, body: 'grant_type=unknown', status: 400 },
      { path: '/introspect', headers: { authorization }, body: `token=${token}`, status: 200 },
      { path: '/introspect?ordinary', headers: { authorization }, body: `token=${token}`, status: 200 },
      { path: '/introspect', headers: {}, body: `token=${token}`, status: 400 },
      { path: '/revoke', headers: { authorization }, body: `token=${token}`, status: 200 },
      { path: '/revoke?ordinary', headers: { authorization }, body: `token=${token}`, status: 200 },
    ];
    for (const one of asked) {
      assert.equal(await connectionsFor(one, false), 1, one.path);
      assert.equal(await connectionsFor(one, true), 1, `${one.path}, in parts`);
    }
  });
});
