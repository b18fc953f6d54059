/** An HTTP server with bounds on time and size, that stops without dropping a request. */
import { createServer, type RequestListener, type Server } from 'node:http';
import { createServer as createTlsServer, Server as TlsServer } from 'node:https';
import { once } from 'node:events';
import type { AddressInfo, Socket } from 'node:net';
import type { SecureContextOptions } from 'node:tls';
import { CannotStart } from '../base/cannot_start.ts';

const LIMITS = {
  maxHeaderSize: 16_384,
  headersTimeout: 10_000,
  requestTimeout: 15_000,
  keepAliveTimeout: 65_000,
} as const;
const HEADERS_AT_MOST = 100;
/** Asked for, never demanded: whether a certificate is needed, and whose, the request decides. */
const TLS = { requestCert: true, rejectUnauthorized: false, handshakeTimeout: 10_000 } as const;

/** The address can't be listened on, as one sentence. */
export class CannotListen extends CannotStart {}

export class HttpServer {
  readonly #server: Server;
  /** Connections that have not asked for anything yet, as load balancers keep them: Node does not count them as idle. */
  readonly #silent = new Set<Socket>();
  /** Connections whose TLS handshake is not over, by what tells them apart: Node does not count them at all. */
  readonly #greeting = new Map<string, Socket>();

  /** With `tls` the server speaks TLS, and asks clients for a certificate. */
  constructor(listener: RequestListener, tls?: SecureContextOptions) {
    this.#server = tls ? createTlsServer({ ...LIMITS, ...TLS, ...tls }, listener) : createServer(LIMITS, listener);
    this.#server.maxHeadersCount = HEADERS_AT_MOST;
    if (tls) this.#watchHandshakes();
    this.#server.on(tls ? 'secureConnection' : 'connection', (socket: Socket) => {
      this.#silent.add(socket);
      socket.on('close', () => this.#silent.delete(socket));
    });
    this.#server.on('request', ({ socket }) => this.#silent.delete(socket));
  }

  /** Puts another certificate or other authorities in force, for connections from now on. */
  renew(tls: SecureContextOptions): void {
    if (!(this.#server instanceof TlsServer)) throw new Error('This server does not speak TLS.');
    this.#server.setSecureContext(tls);
    // those that wait for another request come back under the new terms
    this.#server.closeIdleConnections();
  }

  /** Resolves with the port, which is of the system's choice for port 0; throws `CannotListen`. */
  async listen(host: string, port: number): Promise<number> {
    this.#server.listen(port, host);
    try {
      await once(this.#server, 'listening');
    } catch (error) {
      throw new CannotListen(reason(error as NodeJS.ErrnoException, host, port), { cause: error });
    }
    return (this.#server.address() as AddressInfo).port;
  }

  /** Takes no new connections, lets requests under way finish, and cuts what is left when the time is over. */
  async drain(graceMilliseconds: number): Promise<void> {
    if (!this.#server.listening) return;
    const closed = once(this.#server, 'close');
    this.#server.close();
    this.#cutIdle();
    // a connection that was busy a moment ago is idle now, and its client may never speak again
    const sweep = setInterval(() => this.#cutIdle(), 50);
    const cut = setTimeout(() => this.#cutAll(), graceMilliseconds);
    await closed;
    clearInterval(sweep);
    clearTimeout(cut);
  }

  #watchHandshakes(): void {
    const name = ({ remoteAddress, remotePort }: Socket): string => `${remoteAddress} ${remotePort}`;
    this.#server.on('connection', (socket: Socket) => {
      const its = name(socket);
      this.#greeting.set(its, socket);
      socket.on('close', () => {
        if (this.#greeting.get(its) === socket) this.#greeting.delete(its);
      });
    });
    this.#server.on('secureConnection', (socket: Socket) => this.#greeting.delete(name(socket)));
  }

  #cutIdle(): void {
    this.#server.closeIdleConnections();
    for (const socket of this.#silent) socket.destroy();
    for (const socket of this.#greeting.values()) if (socket.bytesRead === 0) socket.destroy();
  }

  #cutAll(): void {
    this.#server.closeAllConnections();
    for (const socket of this.#greeting.values()) socket.destroy();
  }
}

function reason({ code, message }: NodeJS.ErrnoException, host: string, port: number): string {
  if (code === 'EADDRINUSE') return `Port ${port} on ${host} is taken by another program.`;
  if (code === 'EACCES') return `This user may not listen on port ${port}.`;
  return `Can't listen on ${host}:${port}: ${message}.`;
}
