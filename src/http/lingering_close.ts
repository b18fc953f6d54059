/**
 * Ends a connection whose client still sends, so that the client gets to read the answer. A socket that is closed with
 * unread bytes in it sends a reset, and a reset may destroy an answer that is on its way; behind a proxy it also counts
 * as a failure of this node. So the answer says `Connection: close`, this end stops writing, and what still comes is
 * read and thrown away within a bound of bytes and time (RFC 9112, 9.6).
 */
import { ServerResponse, type IncomingMessage, type OutgoingHttpHeaders } from 'node:http';
import type { Socket } from 'node:net';

const UNWANTED_BYTES_AT_MOST = 1024 * 1024;
const UNWANTED_MILLISECONDS_AT_MOST = 2_000;
/** An activity time-out would not do: a client that reads nothing may still send a byte now and then. */
const ANSWER_MILLISECONDS_AT_MOST = 30_000;
const LOOK_MILLISECONDS = 20;

/**
 * Whether bytes of the request's body have not arrived yet. Node says `complete` a moment after it has handed out the
 * last byte; a body of a known length that waits whole in the buffer has arrived, too.
 */
export function hasUnreadBody({ complete, headers, readableLength }: IncomingMessage): boolean {
  if (complete) return false;
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > readableLength;
}

/** An answer that says `Connection: close` when it leaves before its request has arrived whole. */
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

/** Node calls `destroySoon` after the last answer of a connection; what still comes would then be answered by a reset. */
function closeSlowly(request: IncomingMessage): void {
  const { socket } = request;
  const { destroySoon } = socket;
  socket.destroySoon = () => {
    if (request.complete) return destroySoon.call(socket);
    // a body that was read in part would hold up the connection
    request.resume();
    return end(socket);
  };
}

/** Answers a request that is none, or that never ends: `answer` is the whole answer as it goes over the wire. */
export function endWithAnswer(socket: Socket, answer: string): void {
  ignoreInput(socket);
  end(socket, answer);
}

/** Ends the connection after this answer, and without it where its client has not taken it in within 30 s. */
export function endAfter(response: ServerResponse, socket: Socket): void {
  if (!response.headersSent) response.shouldKeepAlive = false;
  ignoreInput(socket);
  boundUnwanted(socket, ANSWER_MILLISECONDS_AT_MOST);
  socket.destroySoon = () => end(socket);
  response.on('close', () => end(socket));
}

/**
 * From now on nothing reaches the parser, nor a listener that reads a request. Node has taken its own listener for errors
 * off a socket that asked to CONNECT: without another one a reset by the client would end the process.
 */
function ignoreInput(socket: Socket): void {
  socket.on('error', () => {});
  socket.removeAllListeners('data');
  socket.on('data', () => {});
  socket.resume();
}

function end(socket: Socket, lastWords = ''): void {
  socket.end(lastWords, 'latin1');
  boundUnwanted(socket, UNWANTED_MILLISECONDS_AT_MOST);
}

/**
 * Takes in no more than anyone needs to send, then waits a little: a client that is held up, and not cut off, reads the
 * answer. The socket is destroyed after that time.
 */
function boundUnwanted(socket: Socket, milliseconds: number): void {
  const bytesAtMost = socket.bytesRead + UNWANTED_BYTES_AT_MOST;
  const until = performance.now() + milliseconds;
  const watch = setInterval(() => {
    if (socket.bytesRead > bytesAtMost) socket.pause();
    if (performance.now() > until) socket.destroy();
    if (socket.destroyed) clearInterval(watch);
  }, LOOK_MILLISECONDS);
  watch.unref();
}
