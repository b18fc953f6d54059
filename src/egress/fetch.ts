/** Wraps `Egress` as a `fetch` function for libraries. */
import type { Egress } from './egress.ts';

/** Statuses whose Response must have no body (WHATWG Fetch, 2.2.3). */
const WITHOUT_BODY = [204, 205];

/**
 * Accepts GET, and POST with a text or a form. It ignores the caller's headers of a GET, so that callers can share a
 * cached response, and refuses redirects regardless of the options. Rejects with `EgressFailed`.
 */
export function fetchThrough(egress: Pick<Egress, 'get' | 'post'>) {
  return async (input: string | URL | Request, options: RequestInit = {}): Promise<Response> => {
    const url = input instanceof Request ? input.url : new URL(input).href;
    const { method = 'GET', body } = options;
    if (method === 'GET') return get(egress, url);
    if (method === 'POST' && (typeof body === 'string' || body instanceof URLSearchParams)) {
      return post(egress, url, new Headers(options.headers), String(body));
    }
    throw new TypeError(`Only GET, and POST with a text or a form, are supported; not this ${method}.`);
  };
}

async function get(egress: Pick<Egress, 'get'>, url: string): Promise<Response> {
  const { contentType, body, freshUntil } = await egress.get(url);
  const headers = { 'content-type': contentType, expires: freshUntil.toUTCString() };
  return new Response(new Uint8Array(body), { headers });
}

async function post(egress: Pick<Egress, 'post'>, url: string, given: Headers, text: string): Promise<Response> {
  const headers: Record<string, string> = {};
  for (const name of ['content-type', 'authorization']) {
    const value = given.get(name);
    if (value !== null) headers[name] = value;
  }
  const { status, headers: received, body } = await egress.post(url, headers, text);
  return new Response(WITHOUT_BODY.includes(status) ? null : new Uint8Array(body), {
    status,
    headers: { 'content-type': received['content-type'] ?? '' },
  });
}
