/** An HTTP server with bounds on time and size, that stops without dropping a request. */
import { createServer, type RequestListener, type Server } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo, Socket } from 'node:net';
import { CannotStart } from '../base/cannot_start.ts';

const LIMITS = {
  maxHeaderSize: 16_384,
  headersTimeout: 10_000,
  requestTimeout: 15_000,
  keepAliveTimeout: 65_000,
} as const;
const HEADERS_AT_MOST = 100;

/** The address can't be listened on, as one sentence. */
export class CannotListen extends CannotStart {}

export class HttpServer {
  readonly #server: Server;
  /** Connections that have not asked for anything yet, as load balancers keep them: Node does not count them as idle. */
  readonly #silent = new Set<Socket>();

  constructor(listener: RequestListener) {
    this.#server = createServer(LIMITS, listener);
    this.#server.maxHeadersCount = HEADERS_AT_MOST;
    this.#server.on('connection', (socket) => {
      this.#silent.add(socket);
      socket.on('close', () => this.#silent.delete(socket));
    });
    this.#server.on('request', ({ socket }) => this.#silent.delete(socket));
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
    const cut = setTimeout(() => this.#server.closeAllConnections(), graceMilliseconds);
    await closed;
    clearInterval(sweep);
    clearTimeout(cut);
  }

  #cutIdle(): void {
    this.#server.closeIdleConnections();
    for (const socket of this.#silent) socket.destroy();
  }
}

function reason({ code, message }: NodeJS.ErrnoException, host: string, port: number): string {
  if (code === 'EADDRINUSE') return `Port ${port} on ${host} is taken by another program.`;
  if (code === 'EACCES') return `This user may not listen on port ${port}.`;
  return `Can't listen on ${host}:${port}: ${message}.`;
}
