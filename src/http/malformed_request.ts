/** Responses to requests that are not valid HTTP or never complete. */
import { STATUS_CODES, type ServerResponse } from 'node:http';

export interface BrokenRequestLimits {
  readonly headerBytes: number;
  readonly headers: number;
}

/** Returns the whole response as bytes of HTTP. It closes the connection. */
export function brokenRequestAnswer(status: number, detail: string): string {
  const body = bodyOf(detail);
  return [
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
    'Connection: close',
    'Cache-Control: no-store',
    'X-Content-Type-Options: nosniff',
    'Content-Type: application/json; charset=utf-8',
    `Content-Length: ${Buffer.byteLength(body)}`,
    '',
    body,
  ].join('\r\n');
}

/** Sends the same response to a request that the server has read, and closes the connection. */
export function sendAndClose(response: ServerResponse, status: number, detail: string): void {
  const body = bodyOf(detail);
  response.writeHead(status, {
    'Content-Type': 'application/json; charset=utf-8',
    'Content-Length': Buffer.byteLength(body),
    'Cache-Control': 'no-store',
    'X-Content-Type-Options': 'nosniff',
    Connection: 'close',
  });
  response.end(body);
}

function bodyOf(detail: string): string {
  return JSON.stringify({ error: 'invalid_request', error_description: detail });
}

/** Returns the response to an error of Node's HTTP parser; `undefined` if the connection itself failed. */
export function answerToParseError(code: string, limits: BrokenRequestLimits): string | undefined {
  switch (code) {
    case 'HPE_HEADER_OVERFLOW':
      return headersTooLarge(limits);
    case 'HPE_CHUNK_EXTENSIONS_OVERFLOW':
      return brokenRequestAnswer(413, 'the chunk extensions of the body are too long');
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return requestTooSlow();
    default:
      return code.startsWith('HPE_') ? brokenRequestAnswer(400, 'the request is not HTTP/1.1') : undefined;
  }
}

export function headersTooLarge({ headerBytes, headers }: BrokenRequestLimits): string {
  return brokenRequestAnswer(
    431,
    `the request line and the headers must have at most ${headerBytes} bytes and ${headers} headers`,
  );
}

export function requestTooSlow(): string {
  return brokenRequestAnswer(408, 'the request did not arrive completely in time');
}
