import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { HttpServer } from '../../src/http/server.ts';
import { emptyDatabase, type TestDatabase } from '../support/node/database.ts';
import { basic } from '../support/client/code_flow.ts';
import { Processes, type Server } from '../support/node/process.ts';
import { readFileSync } from 'node:fs';

/** Sends a request as it is written, and resolves with everything that comes back until the connection ends. */
async function send(port: number, request: string): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  let answer = '';
  socket.setEncoding('latin1').on('data', (text: string) => (answer += text));
  socket.write(request);
  await once(socket, 'end');
  socket.destroy();
  return answer;
}

const get = (...headers: readonly string[]): string =>
  ['GET / HTTP/1.1', ...headers, 'Connection: close', '', ''].join('\r\n');

const post = (...headers: readonly string[]): string =>
  ['POST /token HTTP/1.1', 'Host: a.example', ...headers, '', 'hello'].join('\r\n');

describe('the Host header of a request', () => {
  let server: HttpServer;
  let port: number;
  let reached = 0;
  before(async () => {
    server = new HttpServer((_request, response) => {
      reached++;
      response.end('done');
    });
    port = await server.listen('127.0.0.1', 0);
  });
  after(() => server.drain(0));

  for (const [what, headers] of [
    ['is missing', []],
    ['comes twice', ['Host: a.example', 'Host: b.example']],
    ['comes twice with one value', ['Host: a.example', 'X: y', 'hOST: a.example']],
    ['is empty', ['Host:']],
    ['names a path', ['Host: a.example/b']],
    ['names a user', ['Host: user@a.example']],
    ['names two hosts', ['Host: a.example, b.example']],
    ['has a space', ['Host: a example']],
    ['has a port that is none', ['Host: a.example:80x']],
    ['has an open bracket', ['Host: [::1']],
  ] as const) {
    it(`ends the request with 400 where it ${what} (FIELD-E9)`, async () => {
      reached = 0;
      const answer = await send(port, get(...headers));
      assert.match(answer, /^HTTP\/1\.1 400 /);
      assert.equal(reached, 0, 'nothing behind the server has seen the request');
    });
  }

  for (const host of [
    'a.example',
    'A.example:8443',
    '127.0.0.1:3000',
    '[::1]:3000',
    'my_service',
    'xn--bcher-kva.example.',
  ]) {
    it(`may be ${host}`, async () => assert.match(await send(port, get(`Host: ${host}`)), /^HTTP\/1\.1 200 /));
  }

  it('may be missing in HTTP/1.0, which has no such rule', async () => {
    assert.match(await send(port, 'GET / HTTP/1.0\r\n\r\n'), /^HTTP\/1\.1 200 /);
  });

  for (const [what, request, status] of [
    ['without a Host header', get(), 400],
    ['with an expectation that no server meets', get('Host: a.example', 'Expect: 200-maybe'), 417],
    ['with such an expectation and a body', post('Expect: foo', 'Content-Length: 5'), 417],
  ] as const) {
    it(`answers a request ${what} with a reason in JSON (FIELD-C13)`, async () => {
      reached = 0;
      const answer = await send(port, request);
      assert.match(answer, new RegExp(`^HTTP/1\\.1 ${status} `));
      assert.match(answer, /\r\nContent-Type: application\/json; charset=utf-8\r\n/);
      const body = JSON.parse(answer.slice(answer.indexOf('\r\n\r\n'))) as Readonly<Record<string, string>>;
      assert.equal(body['error'], 'invalid_request');
      assert.match(body['error_description'] ?? '', status === 400 ? /Host/ : /Expect/);
      assert.equal(reached, 0);
    });
  }

  it('takes the requests behind a refused one along: they may be meant for another host (FIELD-E9)', async () => {
    reached = 0;
    const two = 'GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n';
    const answer = await send(port, two);
    assert.equal(answer.match(/HTTP\/1\.1 /g)?.length, 1, answer);
  });
});

describe('a node', () => {
  const processes = new Processes();
  const dataDir = join(tmpdir(), `gatehouse-hosts-${randomBytes(6).toString('hex')}`);
  let database: TestDatabase;
  let node: Server;
  before(async () => {
    database = await emptyDatabase();
    node = await processes.start({ DATABASE_URL: database.url, GATEHOUSE_DATA_DIR: dataDir });
  });
  after(async () => {
    await processes.end();
    await database.drop();
    await rm(dataDir, { recursive: true, force: true });
  });

  it('gives no token where there are two Host headers, on the fast path neither (FIELD-E9)', async () => {
    const { demo } = JSON.parse(readFileSync(join(dataDir, 'bootstrap.json'), 'utf8')) as {
      readonly demo: { readonly client_id: string; readonly client_secret: string };
    };
    const form = 'grant_type=client_credentials';
    const ask = (...hosts: readonly string[]): Promise<string> =>
      send(
        Number(new URL(node.url).port),
        [
          'POST /token HTTP/1.1',
          ...hosts.map((host) => `Host: ${host}`),
          `Authorization: ${basic(demo.client_id, demo.client_secret)}`,
          'Content-Type: application/x-www-form-urlencoded',
          `Content-Length: ${form.length}`,
          'Connection: close',
          '',
          form,
        ].join('\r\n'),
      );
    assert.match(await ask('id.example.com'), /^HTTP\/1\.1 200 .*"access_token"/s);
    for (const hosts of [[], ['id.example.com', 'id.example.com'], ['id.example.com/x']]) {
      const answer = await ask(...hosts);
      assert.match(answer, /^HTTP\/1\.1 400 /);
      assert.doesNotMatch(answer, /access_token/);
    }
    const metrics = await (await fetch(`${node.managementUrl}/metrics`)).text();
    assert.match(metrics, /^gatehouse_lean_answers_total 1$/m);
  });
});
