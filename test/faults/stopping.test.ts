import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Agent, request, type IncomingMessage } from 'node:http';
import { connect, type Socket } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { decodeJwt } from 'jose';
import { basic } from '../support/client/code_flow.ts';
import type { Gatehouse } from '../support/node/gatehouse.ts';
import { eventually } from '../support/node/operator.ts';
import { startPair, type Pair } from '../support/node/pair.ts';
import { seededRandom } from '../support/random.ts';

const STOPS = Number(process.env.FAULT_STOPS ?? 2);
const CLIENTS = 20;
/** GATEHOUSE_SHUTDOWN_GRACE_SECONDS, and a moment for what waits to be written. */
const GRACE_MILLISECONDS = 15_000 + 5_000;

describe(`a node that is told to stop under load, ${STOPS} times`, () => {
  const random = seededRandom();
  let pair: Pair;
  before(async () => {
    // the first one outlives the others, and looks at what they left
    pair = await startPair({
      GATEHOUSE_ADDRESS_REQUESTS_PER_SECOND: '100000',
      GATEHOUSE_ADDRESS_REQUESTS_BURST: '100000',
      GATEHOUSE_OVERLOAD_MILLISECONDS: '10000',
    });
  });
  after(() => pair.stop());

  it('answers all that it was asked, tells each connection to close, and is gone with code 0 and nothing lost', async (test) => {
    test.diagnostic(`FAULT_SEED=${random.seed}`);
    const given: string[] = [];
    for (let stop = 0; stop < STOPS; stop++) {
      if (stop > 0) await pair.startAgain(pair.b);
      const clients = Array.from({ length: CLIENTS }, () => new KeptAlive(pair.b));
      const silent = await Promise.all([open(pair.b), open(pair.b)]);
      const slow = await halfSent(pair.b);
      const load = clients.map((client) => client.askUntilToldToClose());
      await delay(random.between(300, 800));
      const began = performance.now();
      pair.signal(pair.b, 'SIGTERM');
      await Promise.all(load);
      const told = performance.now() - began;
      // the listener closes a turn after the connections were told
      await eventually(() => isRefused(open(pair.b)));
      assert.match(await slow.finish(), /^HTTP\/1\.1 200 OK\r\n[^]*\r\nConnection: close\r\n/i);
      const { code, signal, stdout, stderr } = await pair.ended(pair.b);
      const took = performance.now() - began;
      for (const socket of silent) socket.destroy();
      const answers = clients.reduce((sum, client) => sum + client.answers, 0);
      test.diagnostic(
        `${answers} answers on ${CLIENTS} connections; all were told to close after ${Math.round(told)} ms, the process was gone after ${Math.round(took)} ms`,
      );
      assert.deepEqual({ code, signal, stderr }, { code: 0, signal: null, stderr: '' });
      assert.doesNotMatch(stdout, /entries_lost|stop_failed/);
      assert.ok(took < GRACE_MILLISECONDS);
      given.push(...clients.flatMap((client) => client.given), jtiIn(await slow.finish()));
    }
    const rows = await pair.a.database
      .selectFrom('audit_events')
      .select('details')
      .where('event', '=', 'token.issued')
      .where('client_id', '=', pair.a.demo.client_id)
      .execute();
    assert.deepEqual(rows.map(({ details }) => (details as { jti: string }).jti).toSorted(), given.toSorted());
  });
});

/** One connection, used again and again, as long as the server lets it. */
class KeptAlive {
  readonly given: string[] = [];
  answers = 0;
  readonly #node: Gatehouse;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 1 });

  constructor(node: Gatehouse) {
    this.#node = node;
  }

  /** Throws the error that kept a request from being answered. */
  async askUntilToldToClose(): Promise<void> {
    for (;;) {
      const closing = await this.#ask();
      this.answers++;
      if (closing) return;
    }
  }

  async #ask(): Promise<boolean> {
    const { url, demo } = this.#node;
    const sent = request(`${url}/token`, {
      agent: this.#agent,
      method: 'POST',
      headers: {
        authorization: basic(demo.client_id, demo.client_secret),
        'content-type': 'application/x-www-form-urlencoded',
      },
    });
    sent.end('grant_type=client_credentials');
    const [response] = (await once(sent, 'response')) as [IncomingMessage];
    let text = '';
    for await (const chunk of response.setEncoding('utf8')) text += chunk;
    assert.equal(response.statusCode, 200, text);
    this.given.push(decodeJwt((JSON.parse(text) as { access_token: string }).access_token).jti!);
    return response.headers.connection === 'close';
  }
}

async function isRefused(opening: Promise<Socket>): Promise<boolean> {
  try {
    (await opening).destroy();
    return false;
  } catch (error) {
    assert.match(String(error), /ECONNREFUSED/);
    return true;
  }
}

async function open({ url }: Gatehouse): Promise<Socket> {
  const socket = connect(Number(new URL(url).port), '127.0.0.1');
  await once(socket, 'connect');
  return socket.on('error', () => {});
}

/** A request of which the server has the first half only. */
async function halfSent(node: Gatehouse): Promise<{ finish(): Promise<string> }> {
  const { client_id, client_secret } = node.demo;
  const socket = await open(node);
  let answer = '';
  const ended = new Promise<string>((resolve) => socket.on('close', () => resolve(answer)));
  socket.setEncoding('utf8').on('data', (text: string) => (answer += text));
  const body = 'grant_type=client_credentials';
  const head = [
    'POST /token HTTP/1.1',
    'Host: id.example.com',
    `Authorization: ${basic(client_id, client_secret)}`,
    'Content-Type: application/x-www-form-urlencoded',
    `Content-Length: ${body.length}`,
  ];
  socket.write(`${head.join('\r\n')}\r\n\r\n${body.slice(0, 10)}`);
  let finished: Promise<string> | undefined;
  return {
    finish() {
      finished ??= (socket.write(body.slice(10)), ended);
      return finished;
    },
  };
}

function jtiIn(answer: string): string {
  return decodeJwt(/"access_token":"([^"]+)"/.exec(answer)?.[1] ?? '').jti!;
}
