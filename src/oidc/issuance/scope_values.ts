/** Reads lists of scopes, and narrows them to those that a client is registered for. */
import type { ClientMetadata } from '../../clients/metadata/client_metadata.ts';
import { OPENID_SCOPES } from '../../resources/resource.ts';

const OPENID: ReadonlySet<string> = new Set(OPENID_SCOPES);

/** Splits the value of a parameter, claim or member `scope` (RFC 6749, 3.3). */
export function splitScope(scope: unknown): string[] {
  return typeof scope === 'string' ? scope.split(' ').filter(Boolean) : [];
}

/**
 * Returns the scopes without those of OpenID Connect that the client is not registered for today. Scopes of APIs stay;
 * the client's resources decide about them.
 */
export function stillRegistered(
  { scope }: Pick<ClientMetadata, 'scope'>,
  scopes: readonly string[],
): readonly string[] {
  if (scope === undefined) return scopes;
  const registered = splitScope(scope);
  return scopes.filter((name) => !OPENID.has(name) || registered.includes(name));
}
