/** Clients that send what no server takes, and what other clients of the same proxy see at that time. */
import { connect, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { postForm } from '../node/gatehouse.ts';

const FORM = 'Content-Type: application/x-www-form-urlencoded';
const LARGE_BODY_BYTES = 2_000_000;
const PATIENCE_MILLISECONDS = 3_000;

/** One hostile request on a connection of its own: it writes, and ends its connection when it likes. */
export interface HostileRequest {
  readonly name: string;
  send(socket: Socket): Promise<void>;
}

/** A body of so many bytes, as announced or in chunks, however the server likes it. */
function large(path: string, framing: 'length' | 'chunks', headers: readonly string[] = [FORM]): HostileRequest {
  return {
    name: `a large body to ${path} by ${framing}`,
    async send(socket) {
      const length = framing === 'length' ? `Content-Length: ${LARGE_BODY_BYTES}` : 'Transfer-Encoding: chunked';
      socket.write(`POST ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\n${[...headers, length].join('\r\n')}\r\n\r\n`);
      const bytes = Buffer.alloc(30_000, 'a');
      const piece = framing === 'length' ? bytes : Buffer.concat([Buffer.from('7530\r\n'), bytes, Buffer.from('\r\n')]);
      // as fast as it is taken, so that the node has refused it before it is all sent
      for (let sent = 0; sent < LARGE_BODY_BYTES && socket.writable; sent += bytes.length) {
        if (!socket.write(piece)) await heard(socket, 'drain');
      }
      if (framing === 'chunks' && socket.writable) socket.write('0\r\n\r\n');
      await answered(socket);
    },
  };
}

const head = (text: string, name: string, patience = PATIENCE_MILLISECONDS): HostileRequest => ({
  name,
  async send(socket) {
    socket.write(text);
    await answered(socket, patience);
  },
});

/** What proxies pass on and the node refuses, or never gets whole. */
export const HOSTILE_REQUESTS: readonly HostileRequest[] = [
  large('/token', 'length'),
  large('/token', 'chunks'),
  large('/par', 'length'),
  large('/introspect', 'chunks'),
  large('/authorize', 'length'),
  large('/register', 'chunks', ['Content-Type: application/json']),
  large('/admin/v1/clients', 'length', ['Content-Type: application/json']),
  large('/not-there', 'chunks'),
  large('/jwks', 'length'),
  head(`GET /jwks HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Large: ${'a'.repeat(40_000)}\r\n\r\n`, 'a header of 40 kB'),
  head(`GET /jwks?${'a'.repeat(100_000)} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n`, 'a target of 100 kB'),
  head(
    `GET /jwks HTTP/1.1\r\nHost: 127.0.0.1\r\n${Array.from({ length: 200 }, (_, at) => `X-${at}: a\r\n`).join('')}\r\n`,
    '200 headers',
  ),
  head(
    `POST /token HTTP/1.1\r\nHost: 127.0.0.1\r\n${FORM}\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n`,
    'no chunk',
    500,
  ),
  head(
    `POST /token HTTP/1.1\r\nHost: 127.0.0.1\r\n${FORM}\r\nContent-Length: 500\r\n\r\ngrant_type=`,
    'a body that stops and is given up',
    200,
  ),
  head(
    `POST /token HTTP/1.1\r\nHost: 127.0.0.1\r\n${FORM}\r\nExpect: 100-continue\r\nContent-Length: ${LARGE_BODY_BYTES}\r\n\r\n`,
    'a large body that waits to be asked for',
    1_000,
  ),
];

export interface Others {
  readonly total: number;
  readonly failed: number;
  /** Why, as often as it happened. */
  readonly reasons: Readonly<Record<string, number>>;
}

export interface Siege {
  readonly port: number;
  readonly client: { readonly client_id: string; readonly client_secret: string };
  readonly senders: number;
  readonly requests: readonly HostileRequest[];
  /** How often each sender begins with one. */
  readonly everyMilliseconds: number;
  readonly seconds: number;
  readonly othersPerSecond: number;
}

/** What others get who ask for tokens at a steady rate, while each sender sends one request after the other. */
export async function besiege({ port, client, senders, requests, ...pace }: Siege): Promise<Others> {
  const over = AbortSignal.timeout(pace.seconds * 1_000);
  const hostile = Array.from({ length: senders }, (_, sender) =>
    every(pace.everyMilliseconds, over, (turn) => sendOne(port, requests[(turn + sender * 7) % requests.length]!)),
  );
  const reasons: Record<string, number> = {};
  let total = 0;
  const url = `http://127.0.0.1:${port}/token`;
  const others = every(1_000 / pace.othersPerSecond, over, async () => {
    total++;
    const reason = await askForToken(url, client);
    if (reason !== undefined) reasons[reason] = (reasons[reason] ?? 0) + 1;
  });
  await Promise.all([others, ...hostile]);
  return { total, failed: Object.values(reasons).reduce((sum, count) => sum + count, 0), reasons };
}

async function askForToken(url: string, client: Siege['client']): Promise<string | undefined> {
  try {
    const answer = await postForm(url, { grant_type: 'client_credentials' }, client);
    await answer.text();
    return answer.ok ? undefined : String(answer.status);
  } catch (error) {
    return String((error as Error).cause ?? error);
  }
}

/** Begins again and again, without waiting for what it began; resolves when all of it is over. */
async function every(milliseconds: number, over: AbortSignal, begin: (turn: number) => Promise<void>): Promise<void> {
  const begun: Promise<void>[] = [];
  const started = performance.now();
  while (!over.aborted) {
    begun.push(begin(begun.length));
    await delay(Math.max(0, started + begun.length * milliseconds - performance.now()));
  }
  await Promise.all(begun);
}

async function sendOne(port: number, { send }: HostileRequest): Promise<void> {
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => {});
  socket.resume();
  await send(socket);
  socket.destroy();
}

/** Waits until the server has closed the connection, or for so long. */
async function answered(socket: Socket, patience = PATIENCE_MILLISECONDS): Promise<void> {
  const timer = setTimeout(() => socket.destroy(), patience);
  await heard(socket);
  clearTimeout(timer);
}

/** Waits for an event, or the end of the connection, however it ends. */
async function heard(socket: Socket, event = 'close'): Promise<void> {
  if (socket.destroyed) return;
  await new Promise<void>((resolve) => {
    const done = (): void => {
      socket.off(event, done).off('close', done);
      resolve();
    };
    socket.on(event, done).on('close', done);
  });
}
