/** Identifiers of this server as a resource that have no row of their own. */

/** The path of userinfo under the issuer (OpenID Connect Core, 5.3). */
export const USERINFO_PATH = '/userinfo';

/** Returns the identifier of userinfo as a resource (RFC 9728). No API can have it. */
export function userinfoIdentifier(issuer: string): string {
  return issuer + USERINFO_PATH;
}
