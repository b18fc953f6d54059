/** An HTTP server with bounds on time and size, that stops without dropping a request. */
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer, Server as TlsServer } from 'node:https';
import { once } from 'node:events';
import { Server as NetServer, type AddressInfo, type Socket } from 'node:net';
import type { SecureContextOptions } from 'node:tls';
import { CannotStart } from '../base/cannot_start.ts';
import { answerToParseError, brokenRequestAnswer, headersTooLarge, requestTooSlow } from './malformed_request.ts';
import { ClosingResponse, endAfter, endWithAnswer } from './lingering_close.ts';
import { ConnectionLimit } from './connection_limit.ts';
import { hasOneValidHost, refuseHost } from './host_header.ts';

const LIMITS = {
  maxHeaderSize: 16_384,
  headersTimeout: 10_000,
  requestTimeout: 15_000,
  keepAliveTimeout: 65_000,
  // how late the two before the last may strike
  connectionsCheckingInterval: 2_000,
} as const;
const HEADERS_AT_MOST = 100;
const HEADER_LIMITS = { headerBytes: LIMITS.maxHeaderSize, headers: HEADERS_AT_MOST };
/** For how long a client may take in nothing of what it asked for; Node gives it that long twice. */
const STALLED_MILLISECONDS = 15_000;
/** Some 15 kB each, where nobody speaks on it. */
export const CONNECTIONS_AT_MOST = 10_000;
/** Probes and scrapers are few. */
export const MANAGEMENT_CONNECTIONS_AT_MOST = 16;
/**
 * Connections that the system takes for us until we come to them (it may have a bound of its own: net.core.somaxconn).
 * One that finds no room is dropped without a word, and its client tries again after a second, or believes it connected
 * for ever.
 */
const NOT_YET_ACCEPTED_AT_MOST = 4_096;
/** Answers that one connection may be owed at a time. No browser and hardly any client asks before it is answered. */
const OWED_AT_MOST = 8;
/** No endpoint takes a larger body, so a client that asks first need not send it (RFC 9110, 10.1.1). */
const BODY_BYTES_AT_MOST = 64 * 1024;
/**
 * For how long connections are still listened to that nobody speaks on, when the server stops: what a client sends in
 * the moment in which we close is lost, and it can't know whether we have read it.
 */
const LINGER_MILLISECONDS = 300;
/** Asked for, never demanded: whether a certificate is needed, and whose, the request decides. */
const TLS = { requestCert: true, rejectUnauthorized: false, handshakeTimeout: 10_000 } as const;

/** The address can't be listened on, as one sentence. */
export class CannotListen extends CannotStart {}

export class HttpServer {
  readonly #server: Server;
  readonly #limit: ConnectionLimit;
  /** Connections that have not asked for anything yet, as load balancers keep them: Node does not count them as idle. */
  readonly #silent = new Set<Socket>();
  /** Connections whose TLS handshake is not over, by what tells them apart: Node does not count them at all. */
  readonly #greeting = new Map<string, Socket>();
  /** What each connection that has asked for something is owed, if anything. */
  readonly #owed = new Map<Socket, Set<ServerResponse>>();
  /** Connections that have got their last answer, or none any more. */
  readonly #ending = new WeakSet<Socket>();
  #leaving = false;

  /** With `tls` the server speaks TLS, and asks clients for a certificate. Servers may share a limit. */
  constructor(
    listener: RequestListener,
    tls?: SecureContextOptions,
    limit: ConnectionLimit = new ConnectionLimit(CONNECTIONS_AT_MOST),
  ) {
    this.#limit = limit;
    const options = { ...LIMITS, ServerResponse: ClosingResponse };
    this.#server = tls ? createTlsServer({ ...options, ...TLS, ...tls }) : createServer(options);
    // Node drops what goes beyond without a word: with one more than may be, a request that has too many shows
    this.#server.maxHeadersCount = HEADERS_AT_MOST + 1;
    this.#server.timeout = STALLED_MILLISECONDS;
    // of TCP: whoever keeps silent in a TLS handshake counts too
    this.#server.on('connection', (socket: Socket) => this.#makeRoom(socket));
    if (tls) this.#watchHandshakes();
    this.#server.on(tls ? 'secureConnection' : 'connection', (socket: Socket) => {
      this.#silent.add(socket);
      socket.on('close', () => {
        this.#silent.delete(socket);
        this.#owed.delete(socket);
      });
    });
    this.#server.on('request', (request, response) => {
      if (this.#mayAsk(request, response)) listener(request, response);
    });
    this.#server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => {
      if (!this.#mayAsk(request, response)) return;
      if (!(Number(request.headers['content-length']) > BODY_BYTES_AT_MOST)) response.writeContinue();
      listener(request, response);
    });
    this.#server.on('connect', (_: IncomingMessage, socket: Socket) => {
      this.#answerBroken(socket, brokenRequestAnswer(405, 'this server is no proxy'));
    });
    this.#server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => {
      this.#answerBroken(socket, answerToParseError(error.code ?? '', HEADER_LIMITS));
    });
    this.#server.on('timeout', (socket: Socket) => {
      const isIncomplete = [...(this.#owed.get(socket) ?? [])].some(({ req }) => !req.complete);
      this.#answerBroken(socket, isIncomplete ? requestTooSlow() : undefined);
    });
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
    this.#server.listen({ host, port, backlog: NOT_YET_ACCEPTED_AT_MOST });
    try {
      await once(this.#server, 'listening');
    } catch (error) {
      throw new CannotListen(reason(error as NodeJS.ErrnoException, host, port), { cause: error });
    }
    // such as EMFILE, for a connection that could not be accepted: the next may be
    this.#server.on('error', () => {
      this.#limit.tellFull();
      this.#server.closeIdleConnections();
    });
    return (this.#server.address() as AddressInfo).port;
  }

  /** From now on each answer ends its connection, so that clients go elsewhere before anything is closed. */
  leave(): void {
    this.#leaving = true;
    for (const response of [...this.#owed.values()].flatMap((owed) => [...owed])) {
      if (!response.headersSent) response.shouldKeepAlive = false;
    }
  }

  /** Takes no new connections, lets requests under way finish, and cuts what is left when the time is over. */
  async drain(graceMilliseconds: number): Promise<void> {
    this.leave();
    if (!this.#server.listening) return;
    const closed = once(this.#server, 'close');
    // not that of HTTP, which would cut idle connections in the same moment
    NetServer.prototype.close.call(this.#server);
    const idleUntil = performance.now() + Math.min(LINGER_MILLISECONDS, graceMilliseconds);
    // a connection that was busy a moment ago is idle now, and its client may never speak again
    const sweep = setInterval(() => performance.now() > idleUntil && this.#cutIdle(), 50);
    const cut = setTimeout(() => this.#cutAll(), graceMilliseconds);
    await closed;
    clearInterval(sweep);
    clearTimeout(cut);
  }

  #mayAsk(request: IncomingMessage, response: ServerResponse): boolean {
    const { socket } = request;
    const owed = this.#owed.get(socket) ?? new Set();
    if (owed.size >= OWED_AT_MOST) {
      socket.destroy();
      return false;
    }
    if (owed.size === 0) {
      this.#silent.delete(socket);
      this.#owed.set(socket, owed);
    }
    owed.add(response);
    response.on('close', () => owed.delete(response));
    if (this.#leaving) response.shouldKeepAlive = false;
    if (request.rawHeaders.length > 2 * HEADERS_AT_MOST) this.#answerBroken(socket, headersTooLarge(HEADER_LIMITS));
    else if (hasOneValidHost(request)) return true;
    else refuseHost(response);
    return false;
  }

  /** Ends a connection whose client can't be understood any more: with `answer`, after what it is owed already. */
  #answerBroken(socket: Socket, answer: string | undefined): void {
    if (this.#ending.has(socket)) return;
    this.#ending.add(socket);
    // a proxy would take the answer on a connection that has asked for nothing for the answer to its next request
    if (answer === undefined || socket.bytesRead === 0 || !socket.writable) {
      socket.destroy();
      return;
    }
    const owed = [...(this.#owed.get(socket) ?? [])].filter(({ req, headersSent }) => req.complete || headersSent);
    const last = owed.at(-1);
    if (last) endAfter(last, socket);
    else endWithAnswer(socket, answer);
  }

  /**
   * Where there are too many, the oldest has to go of those that are not through with their handshake, or else have not
   * asked for anything yet; where there is none, those that may or may not ask for something more, then the oldest that
   * waits with the rest of a body.
   */
  #makeRoom(newcomer: Socket): void {
    newcomer.on('close', () => this.#limit.closed());
    if (!this.#limit.opened()) return;
    const oldest = this.#greeting.values().next().value ?? this.#silent.values().next().value;
    if (!oldest) this.#server.closeIdleConnections();
    const leaves = oldest ?? this.#oldestUnread() ?? newcomer;
    this.#silent.delete(leaves);
    leaves.destroy();
  }

  /** The oldest connection that has sent a part of a request and waits with the rest. */
  #oldestUnread(): Socket | undefined {
    for (const [socket, owed] of this.#owed) {
      if ([...owed].some(({ req }) => !req.complete)) return socket;
    }
    return undefined;
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
