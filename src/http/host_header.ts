/** The Host header: a request has one, and it names a host (RFC 9112, 3.2). */
import type { IncomingMessage, ServerResponse } from 'node:http';

/** `uri-host [ ":" port ]` (RFC 9110, 7.2), and nothing that a URL would read as a path, a user or a query. */
const HOST = /^(?:\[[0-9A-Fa-f:.]+\]|(?:[\w.~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+)(?::\d{0,5})?$/;
const BODY = JSON.stringify({
  error: 'invalid_request',
  error_description: 'the request must have exactly one Host header, which names a host (RFC 9112, 3.2)',
});

/**
 * Whether the request has no two Host headers, and a valid one. Node refuses HTTP/1.1 requests without one by itself;
 * HTTP/1.0 has no such rule. `headers` keeps only the first of several, so the raw ones are counted.
 */
export function hasOneValidHost({ rawHeaders, headers: { host } }: IncomingMessage): boolean {
  let count = 0;
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = rawHeaders[at]!;
    if (name.length === 4 && name.toLowerCase() === 'host') count++;
  }
  return count === 0 || (count === 1 && HOST.test(host ?? ''));
}

/** 400, and the end of the connection: what else comes on it may be meant for another host. */
export function refuseHost(response: ServerResponse): void {
  response.writeHead(400, {
    'Content-Type': 'application/json; charset=utf-8',
    'Content-Length': Buffer.byteLength(BODY),
    'Cache-Control': 'no-store',
    'X-Content-Type-Options': 'nosniff',
    Connection: 'close',
  });
  response.end(BODY);
}
