import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { startBalancer, type Balancer } from '../support/network/balancer.ts';
import { besiege, HOSTILE_REQUESTS } from '../support/client/hostile_senders.ts';
import { startPair, type Pair } from '../support/node/pair.ts';

describe('two nodes behind a load balancer that keeps connections and takes failed nodes out', () => {
  let pair: Pair;
  let balancer: Balancer;
  before(async () => {
    pair = await startPair({
      GATEHOUSE_ADDRESS_REQUESTS_PER_SECOND: '100000',
      GATEHOUSE_ADDRESS_REQUESTS_BURST: '100000',
      GATEHOUSE_OVERLOAD_MILLISECONDS: '10000',
    });
    balancer = await startBalancer([pair.a, pair.b].map(({ url }) => Number(new URL(url).port)));
  });
  after(async () => {
    balancer.stop();
    await pair.stop();
  });

  for (const senders of [1, 2]) {
    it(`${senders} hostile ${senders === 1 ? 'sender causes' : 'senders cause'} no error for other clients (FIELD-B1)`, async (test) => {
      const others = await besiege({
        port: balancer.port,
        client: pair.a.demo,
        senders,
        requests: HOSTILE_REQUESTS,
        everyMilliseconds: 100,
        seconds: 3,
        othersPerSecond: 50,
      });
      test.diagnostic(JSON.stringify(others));
      assert.deepEqual([others.failed, balancer.failures], [0, []]);
      assert.ok(others.total > 20);
    });
  }

  /** All that the first node sends on one connection that brings this; fails where it ends with a reset. */
  async function answerTo(text: string, piece = Buffer.alloc(0), pieces = 0): Promise<string> {
    const socket = connect(Number(new URL(pair.a.url).port), '127.0.0.1');
    let answer = '';
    socket.setEncoding('utf8').on('data', (some: string) => (answer += some));
    const closed = once(socket, 'close');
    socket.write(text);
    for (let sent = 0; sent < pieces && socket.writable; sent++) socket.write(piece);
    await closed;
    return answer;
  }

  const form = 'Content-Type: application/x-www-form-urlencoded';
  const SMALL = Buffer.alloc(30_000, 'a');
  const CHUNK = Buffer.concat([Buffer.from('7530\r\n'), SMALL, Buffer.from('\r\n')]);
  const LIBRARY_ENDPOINTS = [
    '/token',
    '/par',
    '/introspect',
    '/revoke',
    '/userinfo',
    '/device_authorization',
    '/backchannel_authentication',
    '/authorize',
    '/logout',
    '/device',
  ];

  it('every endpoint that reads a form answers a body that is too large with 413, names the limit and closes (FIELD-B1)', async () => {
    for (const path of LIBRARY_ENDPOINTS) {
      const start = `POST ${path} HTTP/1.1\r\nHost: x\r\n${form}\r\n`;
      const answers = [
        await answerTo(`${start}Content-Length: 900000\r\n\r\n`, SMALL, 30),
        await answerTo(`${start}Transfer-Encoding: chunked\r\n\r\n`, CHUNK, 30),
      ];
      for (const answer of answers) {
        assert.match(answer, /^HTTP\/1\.1 413 /, path);
        assert.match(answer, /\r\nConnection: close\r\n/i, path);
        assert.match(answer, /the request body must not exceed 57344 bytes/, path);
      }
    }
  });

  it('a JWT that is too long is refused before it is looked at, with the name of its parameter (FIELD-B2)', async () => {
    const body = `grant_type=authorization_code&client_assertion=${'a'.repeat(17_000)}`;
    const start = `POST /token HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${form}\r\n`;
    const answer = await answerTo(`${start}Content-Length: ${body.length}\r\n\r\n${body}`);
    assert.match(answer, /^HTTP\/1\.1 400 .*client_assertion must not exceed 16384 characters/s);
  });

  const EARLY: Readonly<Record<string, readonly [start: string, status: number]>> = {
    'that has no token': ['POST /admin/v1/clients HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n', 401],
    'to an address that is none': ['POST /not-there HTTP/1.1\r\nHost: x\r\n', 404],
    'with a method that is not taken': ['PUT /token HTTP/1.1\r\nHost: x\r\n', 405],
    'with an expectation that is not known': ['POST /token HTTP/1.1\r\nHost: x\r\nExpect: more\r\n', 417],
    'without a Host': ['POST /token HTTP/1.1\r\n', 400],
    'of HTTP/1.0 that asks to be kept': ['POST /not-there HTTP/1.0\r\nConnection: keep-alive\r\n', 404],
    'of a registration without its token': [
      'POST /register HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n',
      401,
    ],
  };
  for (const [what, [start, status]] of Object.entries(EARLY)) {
    it(`a request ${what} is answered before its body was read, and its connection is closed without a reset (FIELD-B1)`, async () => {
      const answer = await answerTo(`${start}Content-Length: 900000\r\n\r\n`, SMALL, 15);
      assert.match(answer, new RegExp(`^HTTP/1\\.1 ${status} `));
      assert.match(answer, /\r\nConnection: close\r\n/i);
    });
  }

  it('a client that asks first is not asked for a body that is too large (FIELD-B1)', async () => {
    const start = `POST /token HTTP/1.1\r\nHost: x\r\n${form}\r\nExpect: 100-continue\r\n`;
    assert.match(await answerTo(`${start}Content-Length: 900000\r\n\r\n`), /^HTTP\/1\.1 413 /);
    const small = await answerTo(`${start}Connection: close\r\nContent-Length: 1\r\n\r\na`);
    assert.match(small, /^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 400 /);
  });

  it('headers that are too large or too many are refused with 431 that names the limits, without a reset (FIELD-B1)', async () => {
    const large = `X-Large: ${'a'.repeat(40_000)}\r\n`;
    const many = Array.from({ length: 120 }, (_, at) => `X-${at}: a\r\n`).join('');
    for (const headers of [large, many]) {
      const answer = await answerTo(`GET /jwks HTTP/1.1\r\nHost: x\r\n${headers}\r\n`, SMALL, 10);
      assert.match(answer, /^HTTP\/1\.1 431 .*must have at most 16384 bytes and 100 headers/s);
      assert.match(answer, /\r\nConnection: close\r\n/);
    }
  });

  it('a request that comes behind others and is no HTTP leaves them their answers (FIELD-B1)', async () => {
    const good = 'GET /jwks HTTP/1.1\r\nHost: x\r\n\r\n';
    const answer = await answerTo(`${good}${good}nonsense\r\n\r\n`);
    assert.equal(answer.match(/HTTP\/1\.1 200 OK/g)?.length, 2);
  });
});
