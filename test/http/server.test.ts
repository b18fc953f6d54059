import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { ConnectionLimit } from '../../src/http/connection_limit.ts';
import { HttpServer } from '../../src/http/server.ts';
import { certify } from '../support/network/certificates.ts';

describe('the HTTP server', () => {
  let server: HttpServer;
  let port: number;
  let release: () => void;
  let arrived: Promise<void>;

  beforeEach(async () => {
    const released = new Promise<void>((resolve) => (release = resolve));
    let arrive: () => void;
    arrived = new Promise((resolve) => (arrive = resolve));
    server = new HttpServer((request, response) => {
      arrive();
      if (request.url === '/slow') void released.then(() => response.end('done'));
      else response.end('done');
    });
    port = await server.listen('127.0.0.1', 0);
  });
  afterEach(() => server.drain(0));

  const url = (path: string): string => `http://127.0.0.1:${port}${path}`;

  async function open(): Promise<Socket> {
    const socket = connect(port, '127.0.0.1');
    // to be cut off is what some of these sockets are here for
    socket.on('error', () => {});
    await once(socket, 'connect');
    return socket;
  }

  it('refuses 64 kB of headers with 431 (HTTP-04)', async () => {
    const response = await fetch(url('/'), { headers: { 'x-much': 'a'.repeat(65_536) } });
    assert.equal(response.status, 431);
  });

  it('answers 64 kB of headers with 431 and closes without a reset, which would destroy the answer, also over TLS and on a connection in use (FIELD-C16)', async () => {
    const { cert, key } = await certify();
    const secure = new HttpServer((_, response) => response.end('done'), { cert, key });
    const securePort = await secure.listen('127.0.0.1', 0);
    const opened: Readonly<Record<string, () => Socket>> = {
      plain: () => connect(port, '127.0.0.1'),
      TLS: () => connectTls({ port: securePort, host: '127.0.0.1', rejectUnauthorized: false }),
    };
    for (const [how, openOne] of Object.entries(opened)) {
      for (const used of [false, true]) {
        const socket = openOne();
        let answer = '';
        socket.setEncoding('latin1').on('data', (some: string) => (answer += some));
        if (used) {
          socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
          while (!answer.endsWith('done')) await once(socket, 'data');
        }
        // rejects on a reset
        const closed = once(socket, 'close');
        socket.write(`GET / HTTP/1.1\r\nHost: x\r\nX-Large: ${'a'.repeat(65_536)}\r\n`);
        for (let more = 0; more < 10 && socket.writable; more++) socket.write(`X-${more}: ${'a'.repeat(30_000)}\r\n`);
        await closed;
        const where = `${how}, ${used ? 'used' : 'new'}`;
        const [, body = ''] = /HTTP\/1\.1 431 .*\r\nConnection: close\r\n.*\r\n\r\n(.*)$/s.exec(answer) ?? [];
        assert.match(body, /^\{"error":"invalid_request",.*16384 bytes.*\}$/, where);
      }
    }
    await secure.drain(0);
  });

  it('refuses more headers than anyone needs, instead of keeping them all', async () => {
    const socket = await open();
    const many = Array.from({ length: 3_000 }, (_, index) => `x${index}: y`).join('\r\n');
    socket.write(`GET / HTTP/1.1\r\nHost: x\r\n${many}\r\n\r\n`);
    const [answer] = (await once(socket, 'data')) as [Buffer];
    assert.match(answer.toString(), /^HTTP\/1\.1 431 /);
    socket.destroy();
  });

  it('lets a request under way finish before it stops, and takes no other', async () => {
    const slow = fetch(url('/slow'));
    await arrived;
    const drained = server.drain(5_000);
    await assert.rejects(fetch(url('/')));
    release();
    assert.equal(await (await slow).text(), 'done');
    await drained;
  });

  it('stops at once while idle connections are open', async () => {
    const sockets = await Promise.all([open(), open()]);
    const began = performance.now();
    await server.drain(60_000);
    assert.ok(performance.now() - began < 5_000, 'it waited for those who said nothing');
    for (const socket of sockets) socket.destroy();
  });

  it('tells clients to close their connections once it is about to stop, those that wait for an answer too', async () => {
    const slow = fetch(url('/slow'));
    await arrived;
    assert.equal((await fetch(url('/'))).headers.get('connection'), 'keep-alive');
    server.leave();
    assert.equal((await fetch(url('/'))).headers.get('connection'), 'close');
    release();
    assert.equal((await slow).headers.get('connection'), 'close');
  });

  it('answers what is asked on a kept connection in the moment in which it stops', async () => {
    const socket = await open();
    const ask = async (): Promise<string> => {
      socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
      const [answer] = (await once(socket, 'data')) as [Buffer];
      return answer.toString();
    };
    assert.match(await ask(), /^HTTP\/1\.1 200 OK\r\n[^]*Connection: keep-alive\r\n/);
    const drained = server.drain(5_000);
    assert.match(await ask(), /^HTTP\/1\.1 200 OK\r\n[^]*Connection: close\r\n/);
    await drained;
  });

  it('owes one connection no more than a few answers at a time', async () => {
    const socket = await open();
    const gone = once(socket, 'close');
    socket.write('GET /slow HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(9));
    await gone;
    const modest = await open();
    modest.write('GET /slow HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(8));
    let answers = '';
    const all = new Promise<void>((resolve) => {
      modest.on('data', (bytes: Buffer) => (answers += bytes.toString()).match(/done/g)?.length === 8 && resolve());
    });
    release();
    await all;
    modest.destroy();
  });

  it('holds no more connections than its limit: the oldest that asked for nothing has to go', async () => {
    await server.drain(0);
    server = new HttpServer((_, response) => response.end('done'), undefined, new ConnectionLimit(3));
    port = await server.listen('127.0.0.1', 0);
    const sockets = [await open(), await open(), await open()];
    const gone = once(sockets[0]!, 'close');
    assert.equal(await (await fetch(url('/'))).text(), 'done');
    await gone;
    assert.deepEqual(
      sockets.map(({ destroyed }) => destroyed),
      [true, false, false],
    );
    for (const socket of sockets) socket.destroy();
  });

  it('closes kept connections when it is at its limit and all have asked for something', async () => {
    await server.drain(0);
    server = new HttpServer((_, response) => response.end('done'), undefined, new ConnectionLimit(2));
    port = await server.listen('127.0.0.1', 0);
    const sockets = [await open(), await open()];
    for (const socket of sockets) {
      socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
      await once(socket, 'data');
    }
    const gone = Promise.all(sockets.map((socket) => once(socket, 'close')));
    await assert.rejects(fetch(url('/')));
    await gone;
    assert.equal(await (await fetch(url('/'))).text(), 'done');
  });

  it('does not let go of one that waits for those that never end their TLS handshake', async () => {
    await server.drain(0);
    const { cert, key } = await certify();
    server = new HttpServer((_, response) => response.end('done'), { cert, key }, new ConnectionLimit(3));
    port = await server.listen('127.0.0.1', 0);
    const warm = connectTls({ port, host: '127.0.0.1', rejectUnauthorized: false });
    await once(warm, 'secureConnect');
    const mute = [await open(), await open()];
    const gone = once(mute[0]!, 'close');
    const honest = connectTls({ port, host: '127.0.0.1', rejectUnauthorized: false });
    await Promise.all([gone, once(honest, 'secureConnect')]);
    for (const socket of [warm, honest]) {
      socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
      assert.match(String((await once(socket, 'data'))[0]), /200 OK/);
    }
    for (const socket of [warm, honest, ...mute]) socket.destroy();
  });

  it('cuts a request that outlasts the grace', async () => {
    const slow = fetch(url('/slow')).then(
      () => 'answered',
      () => 'cut',
    );
    await arrived;
    await server.drain(20);
    assert.equal(await slow, 'cut');
  });
});
