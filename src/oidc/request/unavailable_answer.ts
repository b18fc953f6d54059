/** The answer of the protocol's endpoints if they can't serve a request at the moment: 503 with Retry-After. */
import type { ServerResponse } from 'node:http';

export const RETRY_AFTER_SECONDS = '1';
export const UNAVAILABLE = {
  error: 'temporarily_unavailable',
  error_description: 'the server can not answer right now; try again in a moment',
};

/** Sends the answer as JSON on Node's response, for code outside of Koa. */
export function answerUnavailable(response: ServerResponse, headers: Readonly<Record<string, string>>): void {
  const type = { 'Content-Type': 'application/json; charset=utf-8' };
  response.writeHead(503, { ...headers, ...type, 'Retry-After': RETRY_AFTER_SECONDS });
  response.end(JSON.stringify(UNAVAILABLE));
}
