/** Who is let in: nobody while this node is overloaded, and no address more often than it may. */
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import type { Quota } from '../base/quota.ts';
import { hasUnreadBody } from './lingering_close.ts';
import type { OpenRequest } from './request_context.ts';

/** What a limiter says to one request more. */
export interface Refused {
  readonly status: 429 | 503;
  readonly retryAfterSeconds: number;
  /** For a 503; it has too much to do, unless told otherwise. */
  readonly why?: string;
  /** The limit that was reached, where it was one. */
  readonly quota?: Quota | undefined;
}

export interface AdmissionSettings<R extends Refused> {
  readonly open: OpenRequest;
  /** Resolves when a refusal may be answered; `undefined`: at once. */
  readonly holdBack: (refused: R) => Promise<void> | undefined;
  /** Hears of each refusal that was answered. `began` is of `performance.now()`. */
  readonly answered: (request: IncomingMessage, status: number, began: number) => void;
}

/** Lets a request through to `listener` unless `refuses` it. Cheap, because it is asked when there is least to give. */
export function admitUnless<R extends Refused>(
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

/** Answers without Koa, which has not been asked yet. */
export function refuse<R extends Refused>(
  request: IncomingMessage,
  response: ServerResponse,
  refused: R,
  { open, holdBack, answered }: AdmissionSettings<R>,
): void {
  const began = performance.now();
  const answer = (): void => {
    answerRefused(response, refused, { 'X-Request-Id': open(request).id }, wantsPage(request));
    answered(request, refused.status, began);
  };
  const held = holdBack(refused);
  if (held) void held.then(answer);
  // a short body arrives with the headers, and is there in the next turn: the connection can then be kept
  else if (hasUnreadBody(request)) setImmediate(answer);
  else answer();
}

/** The headers that tell a caller when to come again (RFC 9110, 10.2.3). */
export function refusalHeaders({ retryAfterSeconds, quota }: Refused): Record<string, string> {
  return {
    'Retry-After': String(retryAfterSeconds),
    ...(quota && quotaHeaders(quota, 0, retryAfterSeconds)),
  };
}

/** What is left of a limit, and for how long it must do (draft-ietf-httpapi-ratelimit-headers-11, 3 and 4). */
export function quotaHeaders({ name, requests, windowSeconds }: Quota, left: number, seconds: number) {
  return {
    'RateLimit-Policy': `"${name}";q=${requests};w=${windowSeconds}`,
    RateLimit: `"${name}";r=${left};t=${seconds}`,
  };
}

export function refusalBody({
  status,
  retryAfterSeconds,
  why = status === 429 ? 'too many requests' : 'the server has too much to do',
}: Refused): { error: string; error_description: string } {
  return {
    error: 'temporarily_unavailable',
    error_description: `${why}; try again in ${retryAfterSeconds} s`,
  };
}

function answerRefused(
  response: ServerResponse,
  refused: Refused,
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
