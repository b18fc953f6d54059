/**
 * Closes a connection whose client is still sending, so that the client can read the response. Closing a socket with
 * unread bytes sends a reset, and a reset may destroy a response on its way; a proxy also counts it as a failure of
 * this node. So the response has `Connection: close`, this server stops writing, and reads and discards further bytes
 * up to a limit of bytes and time (RFC 9112, 9.6).
 */
import { ServerResponse, type IncomingMessage, type OutgoingHttpHeaders } from 'node:http';
import type { Socket } from 'node:net';

const DISCARDED_BYTES_AT_MOST = 1024 * 1024;
const DISCARD_MILLISECONDS_AT_MOST = 2_000;
/** A limit for idle time would not help: a client that reads nothing may still send a byte now and then. */
const ANSWER_MILLISECONDS_AT_MOST = 30_000;
const CHECK_MILLISECONDS = 20;

/**
 * Whether bytes of the request's body have not arrived yet. Node sets `complete` shortly after it returned the last
 * byte; a body of known length that is entirely in the buffer has also arrived.
 */
export function hasUnreadBody({ complete, headers, readableLength }: IncomingMessage): boolean {
  if (complete) return false;
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > readableLength;
}

/** A response that adds `Connection: close` if it is sent before the whole request has arrived. */
export class ClosingResponse extends ServerResponse {
  override writeHead(statusCode: number, ...rest: unknown[]): this {
    const { req } = this;
    if (hasUnreadBody(req)) {
      this.shouldKeepAlive = false;
      closeSlowly(req);
    }
    return super.writeHead(statusCode, ...(rest as [OutgoingHttpHeaders?]));
  }
}

/**
 * Replaces `destroySoon`, which Node calls after the last response of a connection: with it, further bytes of the
 * client would cause a reset.
 */
function closeSlowly(request: IncomingMessage): void {
  const { socket } = request;
  const { destroySoon } = socket;
  socket.destroySoon = () => {
    if (request.complete) return destroySoon.call(socket);
    // a partly read body would block the connection
    request.resume();
    return end(socket);
  };
}

/** Answers an invalid or incomplete request. `answer` is the whole response as bytes of HTTP. */
export function endWithAnswer(socket: Socket, answer: string): void {
  ignoreInput(socket);
  end(socket, answer);
}

/** Closes the connection after this response, or without it if the client has not read it within 30 s. */
export function endAfter(response: ServerResponse, socket: Socket): void {
  if (!response.headersSent) response.shouldKeepAlive = false;
  ignoreInput(socket);
  limitDiscarded(socket, ANSWER_MILLISECONDS_AT_MOST);
  socket.destroySoon = () => end(socket);
  response.on('close', () => end(socket));
}

/**
 * Discards all further input: neither the parser nor a reader of the request gets it. Node removes its own error listener
 * from the socket of a CONNECT request; without a listener, a reset by the client would end the process.
 */
function ignoreInput(socket: Socket): void {
  socket.on('error', () => {});
  socket.removeAllListeners('data');
  socket.on('data', () => {});
  socket.resume();
}

function end(socket: Socket, answer = ''): void {
  socket.end(answer, 'latin1');
  limitDiscarded(socket, DISCARD_MILLISECONDS_AT_MOST);
}

/**
 * Stops reading after the byte limit and destroys the socket after the time limit. A client that is slowed down, not
 * disconnected, reads the response.
 */
function limitDiscarded(socket: Socket, milliseconds: number): void {
  const bytesAtMost = socket.bytesRead + DISCARDED_BYTES_AT_MOST;
  const until = performance.now() + milliseconds;
  const watch = setInterval(() => {
    if (socket.bytesRead > bytesAtMost) socket.pause();
    if (performance.now() > until) socket.destroy();
    if (socket.destroyed) clearInterval(watch);
  }, CHECK_MILLISECONDS);
  watch.unref();
}
