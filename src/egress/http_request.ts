/** Sends one request to a checked address and reads the response, within limits. Ignores environment variables. */
import type { LookupAddress } from 'node:dns';
import http, { type IncomingHttpHeaders, type IncomingMessage } from 'node:http';
import https from 'node:https';
import { isIP, type LookupFunction } from 'node:net';
import type { Destination } from './destination.ts';
import { EgressFailed } from './failure.ts';
import type { Limits } from './limits.ts';

export interface Outgoing {
  readonly method: 'GET' | 'POST';
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
}

export interface Reply {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

interface RequestOptions {
  readonly limits: Limits;
  /** Certificate authorities that replace those of Node.js; `undefined` outside tests. */
  readonly ca: string | undefined;
  readonly signal: AbortSignal;
}

/** Throws `EgressFailed`, the signal's reason, or the socket's error. */
export async function sendRequest(
  destination: Destination,
  addresses: readonly LookupAddress[],
  outgoing: Outgoing,
  options: RequestOptions,
): Promise<Reply> {
  const response = await send(destination, addresses, outgoing, options);
  try {
    refuseRedirectsAndEncodings(response, destination.host);
    const body = await readBody(response, destination.host, options.limits.bodyBytes);
    return { status: response.statusCode ?? 0, headers: response.headers, body };
  } finally {
    response.destroy();
  }
}

function send(
  { url, hostname }: Destination,
  addresses: readonly LookupAddress[],
  { method, headers, body }: Outgoing,
  { limits, ca, signal }: RequestOptions,
): Promise<IncomingMessage> {
  const options: https.RequestOptions = {
    method,
    hostname,
    port: url.port,
    path: `${url.pathname}${url.search}`,
    headers: {
      ...headers,
      'user-agent': 'Gatehouse',
      'accept-encoding': 'identity',
      ...(body !== undefined && { 'content-length': Buffer.byteLength(body) }),
    },
    lookup: pinned(addresses),
    // a new agent, because the global one may use a proxy from the environment (NODE_USE_ENV_PROXY)
    agent: false,
    maxHeaderSize: limits.headerBytes,
    // overrides NODE_OPTIONS and NODE_TLS_REJECT_UNAUTHORIZED
    insecureHTTPParser: false,
    rejectUnauthorized: true,
    ...(isIP(hostname) === 0 && { servername: hostname }),
    ...(ca !== undefined && { ca }),
    signal,
  };
  return new Promise((resolve, reject) => {
    const request = url.protocol === 'https:' ? https.request(options) : http.request(options);
    // by default Node.js silently drops headers after the 2000th, and one of them may be Content-Encoding
    request.maxHeadersCount = 0;
    request.on('response', resolve).on('error', reject);
    request.on('close', () => reject(new Error('closed without a response')));
    request.end(body);
  });
}

/** Always returns the checked addresses, because a second look-up could return others (DNS rebinding). */
function pinned(addresses: readonly LookupAddress[]): LookupFunction {
  return (_hostname, { all }, callback) => {
    const [first] = addresses;
    if (all) callback(null, [...addresses]);
    else callback(null, first?.address ?? '', first?.family);
  };
}

/**
 * Refuses redirects, which lead to an unchecked address, and encoded bodies, which may be a thousand times larger than
 * the bytes received.
 */
function refuseRedirectsAndEncodings({ statusCode: status = 0, headers }: IncomingMessage, host: string): void {
  if (status >= 300 && status < 400) throw new EgressFailed({ reason: 'redirect_refused', host, status });
  const plain =
    /^(identity)?$/i.test(headers['content-encoding'] ?? '') &&
    /^(chunked)?$/i.test(headers['transfer-encoding'] ?? '');
  if (!plain) throw new EgressFailed({ reason: 'encoding_refused', host });
}

async function readBody(response: IncomingMessage, host: string, limitBytes: number): Promise<Buffer> {
  const tooLarge = (): EgressFailed => new EgressFailed({ reason: 'body_too_large', host, limitBytes });
  if (Number(response.headers['content-length']) > limitBytes) throw tooLarge();
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > limitBytes) throw tooLarge();
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
