/** Compares the URIs that name resources and issuers. */

const VISIBLE_ASCII = /^[\x21-\x7e]*$/;
const SCHEME = /^[A-Za-z][A-Za-z0-9+.-]*(?=:)/;
/** Scheme, host, port, path, query; without userinfo and without a fragment. */
const WITH_AUTHORITY =
  /^([A-Za-z][A-Za-z0-9+.-]*):\/\/([^\][/?#@:]+|\[[0-9A-Fa-f:.]+\])(:[0-9]*)?(\/[^?#]*)?(\?[^#]*)?$/;
const DEFAULT_PORTS: Readonly<Record<string, string>> = { http: ':80', https: ':443', ws: ':80', wss: ':443' };

/**
 * Returns the form in which two URIs are compared (RFC 3986, 6.2.2.1 and 6.2.3): scheme and host in lower case, no
 * default port, and `/` for an empty path. Everything else counts, so `/mcp` and `/mcp/` are two. The column
 * `resources.normal_form` has the same value.
 */
export function normalUri(uri: string): string {
  // lower-casing some other letters gives ASCII, which would make two hosts equal
  if (!VISIBLE_ASCII.test(uri)) return uri;
  const parts = WITH_AUTHORITY.exec(uri);
  if (!parts) return uri.replace(SCHEME, (scheme) => scheme.toLowerCase());
  const [, scheme = '', host = '', port = '', path = '/', query = ''] = parts;
  const lower = scheme.toLowerCase();
  const kept = port === ':' || port === DEFAULT_PORTS[lower] ? '' : port;
  return `${lower}://${host.toLowerCase()}${kept}${path}${query}`;
}

export function isSameUri(one: string, other: string): boolean {
  return one === other || normalUri(one) === normalUri(other);
}

/**
 * Returns how each URL parser writes an http(s) URI (URL Standard, 4.5), if that is another spelling than a path, a port or
 * the case of the host explain (`normalUri`): a program may take the two for one URI. `undefined` if it is spelled well.
 */
export function clearerSpelling(uri: string): string | undefined {
  const url = webUrl(uri);
  return url && normalUri(uri) !== url.href ? url.href : undefined;
}

/**
 * True if a person or a program may take `uri` for `own` or for a URL below it. Scheme, userinfo, query, fragment, case,
 * percent-encoding and path parameters make no difference.
 */
export function isAtOrBelow(uri: string, own: string): boolean {
  const [url, ours] = [webUrl(uri), webUrl(own)];
  return url !== undefined && ours !== undefined && barePlace(url).startsWith(barePlace(ours));
}

function webUrl(uri: string): URL | undefined {
  const url = URL.parse(uri);
  return url && /^https?:$/.test(url.protocol) ? url : undefined;
}

/** Host and path with a slash at the end, without what may be ignored. */
function barePlace({ hostname, port, pathname }: URL): string {
  let path = pathname;
  for (let round = 0; round < DECODED_AT_MOST; round++) path = path.replaceAll(ASCII_ESCAPE, decoded);
  const bare = path.toLowerCase().replaceAll(/;[^/]*|[^\x21-\x7e]/g, '');
  return `${hostname.replace(/\.$/, '')}:${port}/${bare}/`.replaceAll(/[/\\]+/g, '/');
}

/** A server behind proxies may decode a path more than once. */
const DECODED_AT_MOST = 4;
const ASCII_ESCAPE = /%([0-7][0-9A-Fa-f])/g;

function decoded(_: string, hex: string): string {
  return String.fromCodePoint(Number.parseInt(hex, 16));
}
