/**
 * Validates redirect URIs at registration, so that requests can be matched by string comparison (RFC 9700, 4.1.3).
 * Refuses URIs that two parsers could read differently.
 */
import { isLoopback } from '../base/loopback.ts';

/** The loopback hosts of native applications, whose port is free (RFC 8252, 7.3). */
const NATIVE_LOOPBACK = /^(localhost|\[::1\]|127\.0\.0\.1)$/;
/** Schemes that run code, show content of the sender's choice, or start another app. */
const FORBIDDEN_SCHEME = /^(javascript|vbscript|data|blob|file|about|intent|ftp|ws|wss)$/;
const REVERSED_DOMAIN = /^[a-z][a-z0-9-]*(\.[a-z0-9-]+)+$/;

export type ApplicationType = 'web' | 'native';

/** Whether no redirect URI may have the scheme, not even if an operator names it. */
export function isForbiddenScheme(scheme: string): boolean {
  return FORBIDDEN_SCHEME.test(scheme);
}

/** Whether only the owner of a domain uses the scheme (RFC 8252, 7.1 and 8.4), or it is http or https. */
export function isOwnedScheme(scheme: string): boolean {
  return scheme === 'https' || scheme === 'http' || REVERSED_DOMAIN.test(scheme);
}

/**
 * Returns `native` if a URI is one of a native application and none is impossible for it. Such applications seldom
 * register their type, and often register an https URI too; the rule for loopback ports depends on the type (RFC 8252,
 * 7.3).
 */
export function guessApplicationType(redirectUris: unknown): ApplicationType {
  const uris = Array.isArray(redirectUris)
    ? redirectUris.map((uri) => (typeof uri === 'string' ? URL.parse(uri) : null))
    : [];
  const isNative = (url: URL | null): boolean =>
    url !== null && url.protocol !== 'https:' && (url.protocol !== 'http:' || NATIVE_LOOPBACK.test(url.hostname));
  const isPossible = (url: URL | null): boolean => url === null || objectionToNativeUri(url) === undefined;
  return uris.some(isNative) && uris.every(isPossible) ? 'native' : 'web';
}

/** Returns why the URI is not allowed, as a text that follows its path; `undefined` if it is allowed. */
export function objectionToRedirectUri(uri: string, applicationType: ApplicationType): string | undefined {
  if (uri.length > 2_000) return 'must not be longer than 2000 characters';
  if (!/^[\x21-\x7e]+$/.test(uri)) return 'must consist of visible ASCII characters; percent-encode all others';
  if (uri.includes('*')) return 'must not contain a wildcard; register each redirect URI in full';
  if (uri.includes('#')) return 'must not have a fragment (RFC 6749, 3.1.2)';
  if (uri.includes('\\')) return 'must not contain a backslash';
  const url = URL.parse(uri);
  if (!url) return 'must be an absolute URI';
  const scheme = url.protocol.slice(0, -1);
  if (isForbiddenScheme(scheme)) return `must not use the scheme ${scheme}`;
  if (url.username || url.password || /^[a-z]+:\/\/[^/?]*@/i.test(uri))
    return 'must not contain a user name or password';
  const isNative = applicationType === 'native';
  if (url.protocol === 'https:' || url.protocol === 'http:') {
    return objectionToWebUri(uri, url) ?? (isNative ? objectionToNativeUri(url) : undefined);
  }
  return isNative ? undefined : 'must use https; private-use schemes are only allowed for application_type native';
}

function objectionToWebUri(uri: string, url: URL): string | undefined {
  if (url.protocol === 'http:' && !isLoopback(url.hostname)) {
    return 'must use https; http is only allowed for loopback addresses (RFC 8252, 7.3)';
  }
  // this covers dot segments, upper-case hosts, default ports and numeric forms of an address
  if (uri !== url.href && `${uri}/` !== url.href) return `must be written in its normal form, ${url.href}`;
  return undefined;
}

/** A native application has http on a loopback address, and https on its vendor's host (RFC 8252, 7.2 and 7.3). */
function objectionToNativeUri({ protocol, hostname }: URL): string | undefined {
  if (!isLoopback(hostname)) return undefined;
  if (protocol === 'https:') return 'must use http on a loopback address for application_type native (RFC 8252, 7.3)';
  if (protocol === 'http:' && !NATIVE_LOOPBACK.test(hostname)) {
    return 'must have the host 127.0.0.1, [::1] or localhost for application_type native';
  }
  return undefined;
}
