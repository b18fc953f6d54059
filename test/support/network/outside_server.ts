/** Servers of others, as the way out meets them: real sockets on loopback addresses, and an Egress that may go there. */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer as createHttpServer, type RequestListener } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import { createServer as createTcpServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { systemClock } from '../../../src/base/clock.ts';
import { Egress, type EgressSettings } from '../../../src/egress/egress.ts';
import { EgressFailed, type EgressFailure } from '../../../src/egress/failure.ts';
import { createLog } from '../../../src/log.ts';

const running = new Set<Outside>();

/** Ends every server that a test started: for `afterEach`. */
export function closeOutside(): void {
  for (const outside of running) outside.close();
  running.clear();
}

const pem = (name: string): string => readFileSync(join(import.meta.dirname, 'tls', name), 'utf8');

/** The name in the certificate of `startOutside`. */
export const NAME = 'keys.client.example';
/** Who signed it. */
export const CA = pem('ca.pem');

/** What the Egress of these tests takes for a public address. */
export const PUBLIC = '127.0.0.2';
/** What it takes for a private one. */
export const PRIVATE = '127.0.0.1';

export interface Outside {
  readonly port: number;
  /** How many connections came. */
  connections(): number;
  /** The requests that came: `GET /path?query`. */
  readonly requests: string[];
  close(): void;
}

/** An https server (its certificate is for `NAME`), or an http one. */
export async function startOutside(
  answer: RequestListener,
  { address = PUBLIC, port = 0, tls = true }: { address?: string; port?: number; tls?: boolean } = {},
): Promise<Outside> {
  const requests: string[] = [];
  const listener: RequestListener = (request, response) => {
    requests.push(`${request.method} ${request.url}`);
    answer(request, response);
  };
  const certificate = { cert: pem('server.pem'), key: pem('server-key.pem') };
  return opened(tls ? createHttpsServer(certificate, listener) : createHttpServer(listener), address, port, requests);
}

/** A server without TLS that can answer with any bytes. */
export function startRaw(speak: (socket: Socket) => void): Promise<Outside> {
  const server = createTcpServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', () => speak(socket));
  });
  return opened(server, PRIVATE, 0, []);
}

async function opened(server: Server, address: string, port: number, requests: string[]): Promise<Outside> {
  const sockets = new Set<Socket>();
  let connections = 0;
  server.on('connection', (socket: Socket) => {
    connections += 1;
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
  });
  server.listen(port, address);
  await once(server, 'listening');
  const outside: Outside = {
    port: (server.address() as AddressInfo).port,
    connections: () => connections,
    requests,
    close() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
  running.add(outside);
  return outside;
}

/** An Egress for these servers: trusts the test authority, takes any port for a usual one and `PUBLIC` for public. */
export function egressTo(
  servers: readonly Pick<Outside, 'port'>[],
  settings: Partial<EgressSettings> = {},
): { readonly egress: Egress; readonly log: string[] } {
  const log: string[] = [];
  const egress = new Egress({
    allow: [],
    resolve: async () => [{ address: PUBLIC, family: 4 }],
    clock: systemClock,
    log: createLog('debug', { write: (line) => void log.push(line) }),
    ports: servers.map(({ port }) => port),
    refusesAddress: (address) => address !== PUBLIC,
    ca: CA,
    ...settings,
    // time is up only where a test means it, however busy this machine is
    limits: { totalMilliseconds: 30_000, ...settings.limits },
  });
  return { egress, log };
}

/** Why it failed; throws when it did not. */
export async function failureOf(work: Promise<unknown>): Promise<EgressFailure> {
  try {
    await work;
  } catch (error) {
    if (error instanceof EgressFailed) return error.failure;
    throw error;
  }
  throw new Error('It was fetched.');
}
