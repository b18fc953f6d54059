import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import type { IncomingHttpHeaders, RequestListener, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { afterEach, describe, it } from 'node:test';
import { text as textOf } from 'node:stream/consumers';
import { rootCertificates } from 'node:tls';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import type { EgressSettings } from '../../src/egress/egress.ts';
import type { EgressFailure } from '../../src/egress/failure.ts';
import { fetchThrough } from '../../src/egress/fetch.ts';
import {
  closeOutside,
  egressTo,
  failureOf,
  NAME,
  PRIVATE,
  startOutside,
  startRaw,
  type Outside,
} from '../support/network/outside_server.ts';

const SOON = { limits: { totalMilliseconds: 150 } };

/** Why a GET from a server that answers so fails. */
async function failureFrom(answer: RequestListener, settings: Partial<EgressSettings> = {}): Promise<EgressFailure> {
  const outside = await startOutside(answer);
  return failureOf(egressTo([outside], settings).egress.get(`https://${NAME}:${outside.port}/keys`));
}

/** The same of one that doesn't even speak HTTP properly. */
async function failureFromRaw(speak: (socket: Socket) => void, settings: Partial<EgressSettings> = {}) {
  const outside = await startRaw(speak);
  const origin = `http://${PRIVATE}:${outside.port}`;
  return failureOf(egressTo([], { allow: [origin], ...settings }).egress.get(origin));
}

const endlessly = (socket: Socket | ServerResponse, text: string): void => {
  const more = (): void => {
    while (!socket.destroyed && socket.write(text));
    if (!socket.destroyed) socket.once('drain', more);
  };
  more();
};

afterEach(closeOutside);

describe('what is fetched for a client', () => {
  it('arrives over TLS, whole', async () => {
    const outside = await startOutside((_, response) => {
      response.setHeader('content-type', 'application/jwk-set+json').write('{"keys":');
      response.end('[]}');
    });
    const { egress, log } = egressTo([outside]);
    const { body, contentType } = await egress.get(`https://${NAME}:${outside.port}/keys?set=1`);
    assert.deepEqual([body.toString(), contentType], ['{"keys":[]}', 'application/jwk-set+json']);
    assert.deepEqual([outside.requests, log], [['GET /keys?set=1'], []]);
  });

  it('is asked for with nothing about us but our name, and no cookie, even one that was set', async () => {
    const seen: IncomingHttpHeaders[] = [];
    const outside = await startOutside(({ headers }, response) => {
      seen.push(headers);
      response.setHeader('set-cookie', 'a=b; Path=/').end('{}');
    });
    const { egress } = egressTo([outside]);
    await egress.get(`https://${NAME}:${outside.port}/1`);
    await egress.get(`https://${NAME}:${outside.port}/2`);
    const headers = {
      accept: 'application/json',
      'accept-encoding': 'identity',
      'user-agent': 'Gatehouse',
      host: `${NAME}:${outside.port}`,
      connection: 'close',
    };
    assert.deepEqual(seen, [headers, headers]);
  });

  it('goes through no proxy that the environment names', async () => {
    const proxy = await startOutside((_, response) => response.end('"proxy"'), { tls: false });
    const outside = await startOutside((_, response) => response.end('"outside"'), { address: PRIVATE, tls: false });
    const origin = `http://${PRIVATE}:${outside.port}`;
    const script = `
      import { Egress } from ${JSON.stringify(import.meta.resolve('../../src/egress/egress.ts'))};
      import { createLog } from ${JSON.stringify(import.meta.resolve('../../src/log.ts'))};
      import http from 'node:http';
      const settings = { allow: ['${origin}'], clock: () => new Date(), log: createLog('silent') };
      console.log(String((await new Egress(settings).get('${origin}')).body));
      http.get('${origin}', (response) => response.pipe(process.stdout));`;
    const url = `http://127.0.0.2:${proxy.port}`;
    const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '--eval', script], {
      env: { NODE_USE_ENV_PROXY: '1', HTTP_PROXY: url, HTTPS_PROXY: url, http_proxy: url, https_proxy: url },
      timeout: 10_000,
    });
    // the second line shows that a request without this care would have gone there
    assert.equal(stdout, '"outside"\n"proxy"');
  });
});

describe('what is fetched for a client fails', () => {
  for (const status of [301, 302, 303, 304, 307, 308]) {
    it(`on a redirect (${status}), which is not followed to loopback`, async () => {
      const inside = await startOutside((_, response) => response.end('{}'), { address: PRIVATE, tls: false });
      const location = `http://${PRIVATE}:${inside.port}/`;
      const failure = await failureFrom((_, response) => response.writeHead(status, { location }).end());
      assert.deepEqual([failure.reason, inside.connections()], ['redirect_refused', 0]);
    });
  }

  for (const status of [201, 204, 206, 400, 404, 500, 503]) {
    it(`on any status but 200 (${status})`, async () => {
      const failure = await failureFrom((_, response) => response.writeHead(status).end());
      assert.equal(failure.reason, 'status_refused');
    });
  }

  it('when the certificate is for another name, even where that is allowed', async () => {
    const outside = await startOutside((_, response) => response.end('{}'));
    const origin = `https://other.client.example:${outside.port}`;
    const { egress } = egressTo([outside], { allow: [origin] });
    const failure = await failureOf(egress.get(origin));
    assert.deepEqual([failure.reason, outside.requests], ['certificate_refused', []]);
  });

  it('when no trusted authority signed the certificate, even where the environment says not to care', async () => {
    process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = '0';
    try {
      const outside = await startOutside((_, response) => response.end('{}'));

      const { egress } = egressTo([outside], { ca: rootCertificates[0]! });
      const failure = await failureOf(egress.get(`https://${NAME}:${outside.port}`));
      assert.deepEqual([failure.reason, outside.requests], ['certificate_refused', []]);
    } finally {
      delete process.env['NODE_TLS_REJECT_UNAUTHORIZED'];
    }
  });

  it('when no server listens', async () => {
    const outside = await startOutside(() => {});
    outside.close();
    const failure = await failureOf(egressTo([outside]).egress.get(`https://${NAME}:${outside.port}/`));
    assert.deepEqual(failure, {
      reason: 'connection_failed',
      host: `${NAME}:${outside.port}`,
      errorCode: 'ECONNREFUSED',
    });
  });

  it('when no answer comes in time', async () => {
    const failure = await failureFrom(() => {}, SOON);
    assert.deepEqual([failure.reason, 'limitMilliseconds' in failure && failure.limitMilliseconds], ['timed_out', 150]);
  });

  it('when the answer comes byte by byte and never ends', async () => {
    const drip: RequestListener = (_, response) => {
      const timer = setInterval(() => response.write(' '), 10);
      response.on('close', () => clearInterval(timer));
    };
    assert.equal((await failureFrom(drip, SOON)).reason, 'timed_out');
  });

  it('when the TLS handshake never ends', async () => {
    const outside = await startRaw(() => {});
    const origin = `https://${PRIVATE}:${outside.port}`;
    assert.equal((await failureOf(egressTo([], { allow: [origin], ...SOON }).egress.get(origin))).reason, 'timed_out');
  });

  it('when the name is not found out in time', async () => {
    const resolve = () => new Promise<never>(() => {});
    assert.equal((await failureFrom((_, response) => response.end(), { resolve, ...SOON })).reason, 'timed_out');
  });

  it('when the body is larger than the limit, announced or not, and takes it when it is not', async () => {
    const limits = { bodyBytes: 1_000 };
    const announces: RequestListener = (_, response) =>
      response.writeHead(200, { 'content-length': '1001' }).flushHeaders();
    const announced = await failureFrom(announces, { limits });
    const endless = await failureFrom((_, response) => endlessly(response, 'x'.repeat(100)), { limits });
    assert.deepEqual([announced.reason, endless.reason], ['body_too_large', 'body_too_large']);
    const outside = await startOutside((_, response) => response.end('x'.repeat(1_000)));
    const { body } = await egressTo([outside], { limits }).egress.get(`https://${NAME}:${outside.port}/`);
    assert.equal(body.length, 1_000);
  });

  it('when the headers are larger than the limit, or never end (FIELD-F9)', async () => {
    const large = await failureFrom((_, response) => response.setHeader('x-large', 'x'.repeat(20_000)).end('{}'));
    const endless = await failureFromRaw((socket) => {
      socket.write('HTTP/1.1 200 OK\r\n');
      endlessly(socket, 'x-more: and more\r\n');
    });
    assert.deepEqual([large.reason, endless.reason], ['headers_too_large', 'headers_too_large']);
  });

  for (const encoding of ['gzip', 'br', 'deflate', 'zstd', 'x-unknown', 'identity, gzip']) {
    it(`when the body is encoded, though we asked for a plain one (${encoding})`, async () => {
      const answer: RequestListener = (_, response) =>
        response.setHeader('content-encoding', encoding).end(gzipSync('{"keys":[]}'));
      assert.equal((await failureFrom(answer)).reason, 'encoding_refused');
    });
  }

  it('when the encoding hides behind thousands of headers', async () => {
    const head = `HTTP/1.1 200 OK\r\n${'a:\r\n'.repeat(2_500)}Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}`;
    assert.equal((await failureFromRaw((socket) => socket.end(head))).reason, 'encoding_refused');
  });

  for (const [what, text] of Object.entries({
    'is no HTTP': 'SSH-2.0-OpenSSH_9.9\r\n',
    'breaks off': 'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{',
    'is nothing': '',
    'changes the protocol': 'HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n',
    'is of two lengths': 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}',
    'is both chunked and measured': 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}',
  })) {
    it(`when what comes ${what}`, async () => {
      assert.equal((await failureFromRaw((socket) => socket.end(text))).reason, 'connection_failed');
    });
  }

  it('and the log names the reason and the host, without path or query', async () => {
    const { egress, log } = egressTo([]);
    await failureOf(egress.get('https://127.0.0.1/path?token=confidential'));
    await failureOf(egress.get('https://user:confidential@keys.client.example/'));
    const [first, second] = log.map((line) => JSON.parse(line) as Record<string, unknown>);
    assert.deepEqual(
      [first?.['msg'], first?.['reason'], first?.['host'], first?.['level']],
      ['egress.failed', 'port_refused', '127.0.0.1', 'warn'],
    );
    assert.equal(second?.['reason'], 'userinfo_refused');
    assert.doesNotMatch(log.join(''), /confidential|path/);
  });
});

describe('the way out in the shape of fetch', () => {
  const answering = async (answer: RequestListener): Promise<[Outside, ReturnType<typeof fetchThrough>, string]> => {
    const outside = await startOutside(answer);
    return [outside, fetchThrough(egressTo([outside]).egress), `https://${NAME}:${outside.port}/`];
  };

  it('gets', async () => {
    const [, fetch, url] = await answering((_, response) => response.end('{"a":1}'));
    const response = await fetch(url, { method: 'GET', headers: { cookie: 'a=b' } });
    assert.deepEqual([response.status, await response.json()], [200, { a: 1 }]);
  });

  it('posts a form or a text, and hands over any answer, an empty one too', async () => {
    const received: string[] = [];
    const [, fetch, url] = await answering((request, response) => {
      void textOf(request).then((body) => {
        received.push(`${request.headers['content-type']} ${body}`);
        response.writeHead(received.length === 1 ? 204 : 400).end();
      });
    });
    const form = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      body: new URLSearchParams({ logout_token: 'a.b.c' }),
    });
    const json = await fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{}' });
    assert.deepEqual([form.status, json.status], [204, 400]);
    assert.deepEqual(received, ['application/x-www-form-urlencoded logout_token=a.b.c', 'application/json {}']);
  });

  it('refuses a redirect with any options, other methods and other bodies', async () => {
    const [outside, fetch, url] = await answering((_, response) => response.writeHead(307, { location: '/' }).end());
    for (const method of ['GET', 'POST']) {
      const options = { method, redirect: 'follow', ...(method === 'POST' && { body: '' }) } as const;
      assert.equal((await failureOf(fetch(url, options))).reason, 'redirect_refused');
    }
    await assert.rejects(fetch(url, { method: 'DELETE' }), TypeError);
    await assert.rejects(fetch(url, { method: 'POST', body: new Blob(['x']) }), TypeError);
    assert.equal(outside.requests.length, 2);
  });
});
