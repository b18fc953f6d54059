/**
 * Admits or refuses a request before Koa: refuses all while the node is overloaded, and an address that exceeds its
 * rate limit.
 */
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import type { Quota } from '../base/quota.ts';
import { hasUnreadBody } from './lingering_close.ts';
import type { OpenRequest } from './request_context.ts';

/** A limiter's refusal of a request. */
export interface AdmissionRefusal {
  readonly status: 429 | 503;
  readonly retryAfterSeconds: number;
  /** The reason in the body of a 503; by default, the server is overloaded. */
  readonly why?: string;
  /** The limit that the caller exceeded, if any. */
  readonly quota?: Quota | undefined;
}

export interface AdmissionSettings<R extends AdmissionRefusal> {
  readonly open: OpenRequest;
  /** Resolves when a refusal may be sent; `undefined` means at once. */
  readonly holdBack: (refused: R) => Promise<void> | undefined;
  /** Whether only programs call the path of the request: then the refusal is never a page. */
  readonly isForPrograms: (request: IncomingMessage) => boolean;
  /** Called after each refusal. `began` is a `performance.now()` value. */
  readonly answered: (request: IncomingMessage, status: number, began: number) => void;
}

/**
 * Passes a request to `listener` unless `refuses` returns a refusal. The check is cheap, because it runs while the node
 * is overloaded.
 */
export function admitUnless<R extends AdmissionRefusal>(
  refuses: (request: IncomingMessage) => R | undefined,
  settings: AdmissionSettings<R>,
  listener: RequestListener,
): RequestListener {
  return (request, response) => {
    const refused = refuses(request);
    if (refused) refuse(request, response, refused, settings);
    else listener(request, response);
  };
}

/** Sends the refusal with Node's response, because Koa has not seen the request yet. */
export function refuse<R extends AdmissionRefusal>(
  request: IncomingMessage,
  response: ServerResponse,
  refused: R,
  { open, holdBack, isForPrograms, answered }: AdmissionSettings<R>,
): void {
  const began = performance.now();
  const answer = (): void => {
    const page = wantsPage(request) && !isForPrograms(request);
    answerRefused(response, refused, { 'X-Request-Id': open(request).id }, page);
    answered(request, refused.status, began);
  };
  const held = holdBack(refused);
  if (held) void held.then(answer);
  // a short body arrives with the headers and is complete in the next turn of the event loop: the connection can then
  // stay open
  else if (hasUnreadBody(request)) setImmediate(answer);
  else answer();
}

/** Returns the headers that tell the client when to retry (RFC 9110, 10.2.3). */
export function refusalHeaders({ retryAfterSeconds, quota }: AdmissionRefusal): Record<string, string> {
  return {
    'Retry-After': String(retryAfterSeconds),
    ...(quota && quotaHeaders(quota, 0, retryAfterSeconds)),
  };
}

/**
 * Returns the headers with the remaining quota and the seconds until it resets
 * (draft-ietf-httpapi-ratelimit-headers-11, 3 and 4).
 */
export function quotaHeaders({ name, requests, windowSeconds }: Quota, left: number, seconds: number) {
  return {
    'RateLimit-Policy': `"${name}";q=${requests};w=${windowSeconds}`,
    RateLimit: `"${name}";r=${left};t=${seconds}`,
  };
}

export function refusalBody({
  status,
  retryAfterSeconds,
  why = status === 429 ? 'too many requests' : 'the server is overloaded',
}: AdmissionRefusal): { error: string; error_description: string } {
  return {
    error: 'temporarily_unavailable',
    error_description: `${why}; try again in ${retryAfterSeconds} s`,
  };
}

function answerRefused(
  response: ServerResponse,
  refused: AdmissionRefusal,
  headers: Readonly<Record<string, string>>,
  page: boolean,
): void {
  const sentence = `<!doctype html><html lang="en"><meta charset="utf-8"><title>Try again in a moment</title><h1>Try again in a moment</h1><p>There is too much to do right now. Wait ${refused.retryAfterSeconds} s and load this page again.</p></html>`;
  const body = page ? sentence : JSON.stringify(refusalBody(refused));
  response.writeHead(refused.status, {
    ...headers,
    ...refusalHeaders(refused),
    'Cache-Control': 'no-store',
    'X-Content-Type-Options': 'nosniff',
    'Content-Type': page ? 'text/html; charset=utf-8' : 'application/json; charset=utf-8',
    'Content-Length': Buffer.byteLength(body),
  });
  response.end(body);
}

function wantsPage({ headers }: IncomingMessage): boolean {
  return /^[^,]*text\/html/.test(headers.accept ?? '');
}
