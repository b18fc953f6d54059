/** An HTTP server that limits time, size and connections, and stops without dropping a request. */
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer, Server as TlsServer } from 'node:https';
import { once } from 'node:events';
import { Server as NetServer, type AddressInfo, type Socket } from 'node:net';
import type { SecureContextOptions } from 'node:tls';
import { CannotStart } from '../base/cannot_start.ts';
import {
  answerToParseError,
  brokenRequestAnswer,
  headersTooLarge,
  requestTooSlow,
  sendAndClose,
} from './malformed_request.ts';
import { ClosingResponse, endAfter, endWithAnswer } from './lingering_close.ts';
import { ConnectionLimit } from './connection_limit.ts';
import { hasOneValidHost, refuseHost } from './host_header.ts';

const LIMITS = {
  maxHeaderSize: 16_384,
  headersTimeout: 10_000,
  requestTimeout: 15_000,
  keepAliveTimeout: 65_000,
  // Node enforces headersTimeout and requestTimeout up to this much later
  connectionsCheckingInterval: 2_000,
  // Node would answer a request without a Host header with an empty body
  requireHostHeader: false,
} as const;
const HEADERS_AT_MOST = 100;
const HEADER_LIMITS = { headerBytes: LIMITS.maxHeaderSize, headers: HEADERS_AT_MOST };
/** A client may stop reading its response for this time; Node allows it twice. */
const STALLED_MILLISECONDS = 15_000;
/** An idle connection takes about 15 kB. */
export const CONNECTIONS_AT_MOST = 10_000;
export const MANAGEMENT_CONNECTIONS_AT_MOST = 16;
/**
 * Connections that the operating system accepts before this process does (net.core.somaxconn may limit it further).
 * Beyond it the system drops connections silently: the client tries again after a second, or waits for ever on a
 * connection it considers open.
 */
const BACKLOG_AT_MOST = 4_096;
/**
 * Maximum number of pending responses on a connection. Browsers and almost all clients wait for a response before the
 * next request.
 */
const PENDING_RESPONSES_AT_MOST = 8;
/** No endpoint accepts a larger body, so a client with `Expect: 100-continue` need not send it (RFC 9110, 10.1.1). */
const BODY_BYTES_AT_MOST = 64 * 1024;
const UNKNOWN_EXPECTATION = 'the header Expect may only be 100-continue (RFC 9110, 10.1.1)';
/**
 * While the server stops, it still reads from idle connections for this time: a request that arrives just as the server
 * closes is lost, and the client cannot know whether the server processed it.
 */
const LINGER_MILLISECONDS = 300;
/**
 * The server requests a client certificate but does not require one: each request decides which certificate it needs.
 */
const TLS = { requestCert: true, rejectUnauthorized: false, handshakeTimeout: 10_000 } as const;

/** The server cannot listen on the address; the message is one sentence. */
export class CannotListen extends CannotStart {}

export class HttpServer {
  readonly #server: Server;
  readonly #limit: ConnectionLimit;
  /**
   * Connections without a request so far, such as those that load balancers keep open. Node does not count them as
   * idle.
   */
  readonly #unused = new Set<Socket>();
  /** Connections in the TLS handshake, by peer address and port. Node does not count them at all. */
  readonly #handshaking = new Map<string, Socket>();
  /** The pending responses of each connection that has sent a request. */
  readonly #pending = new Map<Socket, Set<ServerResponse>>();
  /** Connections that get no further response. */
  readonly #ending = new WeakSet<Socket>();
  #stopping = false;

  /** With `tls` the server uses TLS and requests client certificates. Several servers may share a limit. */
  constructor(
    listener: RequestListener,
    tls?: SecureContextOptions,
    limit: ConnectionLimit = new ConnectionLimit(CONNECTIONS_AT_MOST),
  ) {
    this.#limit = limit;
    const options = { ...LIMITS, ServerResponse: ClosingResponse };
    this.#server = tls ? createTlsServer({ ...options, ...TLS, ...tls }) : createServer(options);
    // Node silently drops headers above this number: one more than allowed shows that a request has too many
    this.#server.maxHeadersCount = HEADERS_AT_MOST + 1;
    this.#server.timeout = STALLED_MILLISECONDS;
    // the TCP event: silent connections in the TLS handshake count too
    this.#server.on('connection', (socket: Socket) => this.#makeRoom(socket));
    if (tls) this.#watchHandshakes();
    this.#server.on(tls ? 'secureConnection' : 'connection', (socket: Socket) => {
      this.#unused.add(socket);
      socket.on('close', () => {
        this.#unused.delete(socket);
        this.#pending.delete(socket);
      });
    });
    this.#server.on('request', (request, response) => {
      if (this.#acceptsRequest(request, response)) listener(request, response);
    });
    this.#server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => {
      if (!this.#acceptsRequest(request, response)) return;
      if (!(Number(request.headers['content-length']) > BODY_BYTES_AT_MOST)) response.writeContinue();
      listener(request, response);
    });
    // without this listener, Node answers with an empty body
    this.#server.on('checkExpectation', (request: IncomingMessage, response: ServerResponse) => {
      if (this.#acceptsRequest(request, response)) sendAndClose(response, 417, UNKNOWN_EXPECTATION);
    });
    this.#server.on('connect', (_: IncomingMessage, socket: Socket) => {
      this.#answerBroken(socket, brokenRequestAnswer(405, 'this server is not a proxy'));
    });
    this.#server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => {
      this.#answerBroken(socket, answerToParseError(error.code ?? '', HEADER_LIMITS));
    });
    this.#server.on('timeout', (socket: Socket) => {
      const isIncomplete = [...(this.#pending.get(socket) ?? [])].some(({ req }) => !req.complete);
      this.#answerBroken(socket, isIncomplete ? requestTooSlow() : undefined);
    });
  }

  /** Uses another certificate or other authorities for new connections. */
  renew(tls: SecureContextOptions): void {
    if (!(this.#server instanceof TlsServer)) throw new Error('This server does not speak TLS.');
    this.#server.setSecureContext(tls);
    // clients with idle connections reconnect and use the new certificate
    this.#server.closeIdleConnections();
  }

  /** Resolves with the port; for port 0 the system chooses one. Throws `CannotListen`. */
  async listen(host: string, port: number): Promise<number> {
    this.#server.listen({ host, port, backlog: BACKLOG_AT_MOST });
    try {
      await once(this.#server, 'listening');
    } catch (error) {
      throw new CannotListen(reason(error as NodeJS.ErrnoException, host, port), { cause: error });
    }
    // an error such as EMFILE means that one connection was not accepted; later ones may succeed
    this.#server.on('error', () => {
      this.#limit.reportFull();
      this.#server.closeIdleConnections();
    });
    return (this.#server.address() as AddressInfo).port;
  }

  /** From now on each response closes its connection, so that clients reconnect elsewhere before the server stops. */
  leave(): void {
    this.#stopping = true;
    for (const response of [...this.#pending.values()].flatMap((pending) => [...pending])) {
      if (!response.headersSent) response.shouldKeepAlive = false;
    }
  }

  /**
   * Accepts no new connections, lets active requests finish, and closes the remaining connections after
   * `graceMilliseconds`.
   */
  async drain(graceMilliseconds: number): Promise<void> {
    this.leave();
    if (!this.#server.listening) return;
    const closed = once(this.#server, 'close');
    // not `close` of the HTTP server, which would close idle connections at once
    NetServer.prototype.close.call(this.#server);
    const idleUntil = performance.now() + Math.min(LINGER_MILLISECONDS, graceMilliseconds);
    // a connection may become idle later, and its client may never send another request
    const sweep = setInterval(() => performance.now() > idleUntil && this.#closeIdle(), 50);
    const cut = setTimeout(() => this.#closeAll(), graceMilliseconds);
    await closed;
    clearInterval(sweep);
    clearTimeout(cut);
  }

  #acceptsRequest(request: IncomingMessage, response: ServerResponse): boolean {
    const { socket } = request;
    const pending = this.#pending.get(socket) ?? new Set();
    if (pending.size >= PENDING_RESPONSES_AT_MOST) {
      socket.destroy();
      return false;
    }
    if (pending.size === 0) {
      this.#unused.delete(socket);
      this.#pending.set(socket, pending);
    }
    pending.add(response);
    response.on('close', () => pending.delete(response));
    if (this.#stopping) response.shouldKeepAlive = false;
    if (request.rawHeaders.length > 2 * HEADERS_AT_MOST) this.#answerBroken(socket, headersTooLarge(HEADER_LIMITS));
    else if (hasOneValidHost(request)) return true;
    else refuseHost(response);
    return false;
  }

  /** Closes a connection after an invalid request: sends `answer` after the pending responses. */
  #answerBroken(socket: Socket, answer: string | undefined): void {
    if (this.#ending.has(socket)) return;
    this.#ending.add(socket);
    // a proxy would read a response without a request as the response to its next request
    if (answer === undefined || socket.bytesRead === 0 || !socket.writable) {
      socket.destroy();
      return;
    }
    const pending = [...(this.#pending.get(socket) ?? [])].filter(
      ({ req, headersSent }) => req.complete || headersSent,
    );
    const last = pending.at(-1);
    if (last) endAfter(last, socket);
    else endWithAnswer(socket, answer);
  }

  /**
   * Closes a connection if there are too many: the oldest in the TLS handshake, or else the oldest without a request;
   * otherwise all idle ones and the oldest with an incomplete request, or else the new one.
   */
  #makeRoom(newcomer: Socket): void {
    newcomer.on('close', () => this.#limit.closed());
    if (!this.#limit.opened()) return;
    const oldest = this.#handshaking.values().next().value ?? this.#unused.values().next().value;
    if (!oldest) this.#server.closeIdleConnections();
    const victim = oldest ?? this.#oldestUnread() ?? newcomer;
    this.#unused.delete(victim);
    victim.destroy();
  }

  /** The oldest connection with an incomplete request. */
  #oldestUnread(): Socket | undefined {
    for (const [socket, pending] of this.#pending) {
      if ([...pending].some(({ req }) => !req.complete)) return socket;
    }
    return undefined;
  }

  #watchHandshakes(): void {
    const name = ({ remoteAddress, remotePort }: Socket): string => `${remoteAddress} ${remotePort}`;
    this.#server.on('connection', (socket: Socket) => {
      const key = name(socket);
      this.#handshaking.set(key, socket);
      socket.on('close', () => {
        if (this.#handshaking.get(key) === socket) this.#handshaking.delete(key);
      });
    });
    this.#server.on('secureConnection', (socket: Socket) => this.#handshaking.delete(name(socket)));
  }

  #closeIdle(): void {
    this.#server.closeIdleConnections();
    for (const socket of this.#unused) socket.destroy();
    for (const socket of this.#handshaking.values()) if (socket.bytesRead === 0) socket.destroy();
  }

  #closeAll(): void {
    this.#server.closeAllConnections();
    for (const socket of this.#handshaking.values()) socket.destroy();
  }
}

function reason({ code, message }: NodeJS.ErrnoException, host: string, port: number): string {
  if (code === 'EADDRINUSE') return `Port ${port} on ${host} is in use by another program.`;
  if (code === 'EACCES') return `This user is not allowed to listen on port ${port}.`;
  return `Cannot listen on ${host}:${port}: ${message}.`;
}
