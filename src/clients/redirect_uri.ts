/**
 * Validates redirect URIs at registration, so that requests can be matched by string comparison (RFC 9700, 4.1.3).
 * Refuses URIs that two parsers could read differently.
 */
import { isLoopback } from '../base/loopback.ts';

const FORBIDDEN_SCHEME = /^(javascript|vbscript|data|blob|file|about|ftp|ws|wss):$/;

export type ApplicationType = 'web' | 'native';

/** Returns why the URI is not allowed, as a text that follows its path; `undefined` if it is allowed. */
export function objectionToRedirectUri(uri: string, applicationType: ApplicationType): string | undefined {
  if (uri.length > 2_000) return 'must not be longer than 2000 characters';
  if (!/^[\x21-\x7e]+$/.test(uri)) return 'must consist of visible ASCII characters; percent-encode all others';
  if (uri.includes('*')) return 'must not contain a wildcard; register each redirect URI in full';
  if (uri.includes('#')) return 'must not have a fragment (RFC 6749, 3.1.2)';
  if (uri.includes('\\')) return 'must not contain a backslash';
  const url = URL.parse(uri);
  if (!url) return 'must be an absolute URI';
  if (FORBIDDEN_SCHEME.test(url.protocol)) return `must not use the scheme ${url.protocol.slice(0, -1)}`;
  if (url.username || url.password || /^[a-z]+:\/\/[^/?]*@/i.test(uri))
    return 'must not contain a user name or password';
  if (url.protocol === 'https:' || url.protocol === 'http:') return objectionToWebUri(uri, url);
  return objectionToPrivateUseUri(url, applicationType);
}

function objectionToWebUri(uri: string, url: URL): string | undefined {
  if (url.protocol === 'http:' && !isLoopback(url.hostname)) {
    return 'must use https; http is only allowed for loopback addresses (RFC 8252, 7.3)';
  }
  // this covers dot segments, upper-case hosts, default ports and numeric forms of an address
  if (uri !== url.href && `${uri}/` !== url.href) return `must be written in its normal form, ${url.href}`;
  return undefined;
}

function objectionToPrivateUseUri(url: URL, applicationType: ApplicationType): string | undefined {
  if (applicationType !== 'native')
    return 'must use https; private-use schemes are only allowed for application_type native';
  if (!/^[a-z][a-z0-9-]*(\.[a-z0-9-]+)+:$/.test(url.protocol)) {
    return 'must use a scheme that is a reversed domain name, such as com.example.app (RFC 8252, 7.1)';
  }
  return undefined;
}
