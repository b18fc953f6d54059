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
 * True if a person or a program may take `uri` for `own`: the same URI but for userinfo, query, fragment,
 * percent-encoding or slashes at the end.
 */
export function looksLike(uri: string, own: string): boolean {
  return withoutOrnament(uri) === withoutOrnament(own);
}

function withoutOrnament(uri: string): string | undefined {
  const url = URL.parse(uri);
  if (!url) return undefined;
  return `${url.protocol}//${url.host}${decoded(url.pathname).replace(/\/+$/, '')}`;
}

function decoded(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}
