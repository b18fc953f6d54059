/** Checks the Host header: a request has exactly one, and it names a host (RFC 9112, 3.2). */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { sendAndClose } from './malformed_request.ts';

/** `uri-host [ ":" port ]` (RFC 9110, 7.2), without characters that a URL would read as a path, user or query. */
const HOST = /^(?:\[[0-9A-Fa-f:.]+\]|(?:[\w.~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+)(?::\d{0,5})?$/;
const DETAIL = 'the request must have exactly one Host header, which names a host (RFC 9112, 3.2)';

/**
 * Whether the request has one Host header and it is valid. HTTP/1.0 does not require it. Counts the raw headers, because
 * `headers` keeps only the first of several.
 */
export function hasOneValidHost({ rawHeaders, httpVersion, headers: { host } }: IncomingMessage): boolean {
  let count = 0;
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = rawHeaders[at]!;
    if (name.length === 4 && name.toLowerCase() === 'host') count++;
  }
  return count === 0 ? httpVersion === '1.0' : count === 1 && HOST.test(host ?? '');
}

/** Sends 400 and closes the connection: further requests on it may be meant for another host. */
export function refuseHost(response: ServerResponse): void {
  sendAndClose(response, 400, DETAIL);
}
