/** Who is let in: nobody while this node is overloaded, and no address more often than it may. */
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import type { OpenRequest } from './request_context.ts';

/** What a limiter says to one request more. */
export interface Refused {
  readonly status: 429 | 503;
  readonly retryAfterSeconds: number;
  /** For a 503; it has too much to do, unless told otherwise. */
  readonly why?: string;
  /** For `RateLimit-Policy`, where it was a limit of this kind. */
  readonly policy?: string | undefined;
}

/** Lets a request through to `listener` unless `refuses` it. Cheap, because it is asked when there is least to give. */
export function admitUnless(
  refuses: (request: IncomingMessage) => Refused | undefined,
  open: OpenRequest,
  listener: RequestListener,
): RequestListener {
  return (request, response) => {
    const refused = refuses(request);
    if (refused) answerRefused(response, refused, { 'X-Request-Id': open(request).id }, wantsPage(request));
    else listener(request, response);
  };
}

/** The headers that tell a caller when to come again (RFC 9110, 10.2.3; draft-ietf-httpapi-ratelimit-headers). */
export function refusalHeaders({ retryAfterSeconds, policy }: Refused): Record<string, string> {
  return {
    'Retry-After': String(retryAfterSeconds),
    ...(policy !== undefined && {
      'RateLimit-Policy': `"default";${policy}`,
      RateLimit: `"default";r=0;t=${retryAfterSeconds}`,
    }),
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
  const body = refusalBody(refused);
  const sentence = `<!doctype html><html lang="en"><meta charset="utf-8"><title>Try again in a moment</title><h1>Try again in a moment</h1><p>There is too much to do right now. Wait ${refused.retryAfterSeconds} s and load this page again.</p></html>`;
  response.writeHead(refused.status, {
    ...headers,
    ...refusalHeaders(refused),
    'Cache-Control': 'no-store',
    'X-Content-Type-Options': 'nosniff',
    'Content-Type': page ? 'text/html; charset=utf-8' : 'application/json; charset=utf-8',
  });
  response.end(page ? sentence : JSON.stringify(body));
}

function wantsPage({ headers }: IncomingMessage): boolean {
  return /^[^,]*text\/html/.test(headers.accept ?? '');
}
