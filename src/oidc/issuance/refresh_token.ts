/** Which client gets refresh tokens, how long they live, and what one carries on from the code or token before it. */
import type { AdapterPayload } from 'oidc-provider';
import type { ClientMetadata } from '../../clients/metadata/client_metadata.ts';
import { isFapi2 } from '../../clients/metadata/security_profile.ts';
import type { Validity } from './issuance.ts';
import { splitScope, stillRegistered } from './scope_values.ts';

/**
 * A client that registered for refresh tokens gets them; without offline_access they end with the session. `scope` is
 * that of the code or token.
 */
export function getsRefreshToken(metadata: Pick<ClientMetadata, 'grant_types' | 'scope'>, scope: unknown): boolean {
  return metadata.grant_types.includes('refresh_token') && !lostOfflineAccess(metadata, scope);
}

/**
 * Whether the code or token outlasts its session (OpenID Connect Core, 11), although the client may not ask for that any
 * more.
 */
export function lostOfflineAccess(metadata: Pick<ClientMetadata, 'scope'>, scope: unknown): boolean {
  if (metadata.scope === undefined) return false;
  const granted = splitScope(scope);
  return granted.includes('offline_access') && !stillRegistered(metadata, granted).includes('offline_access');
}

/**
 * Whether each use replaces the token. One that is bound to its client is worth nothing to a thief, and a lost answer
 * must not cost a bank's customer the access (FAPI 2.0, 5.3.2.1).
 */
export function isRotated(metadata: Pick<ClientMetadata, 'profile'>): boolean {
  return !isFapi2(metadata);
}

/** A refresh token that is never replaced lasts as long as its grant. */
export function refreshTokenSeconds(
  metadata: Pick<ClientMetadata, 'profile'>,
  settings: { readonly refreshTtlSeconds: number; readonly refreshAbsoluteTtlSeconds: number },
): number {
  return isRotated(metadata) ? settings.refreshTtlSeconds : settings.refreshAbsoluteTtlSeconds;
}

/**
 * The payload of the refresh token that follows a code or a refresh token which is bound to nothing. It carries on
 * everything that was granted, with times of its own. The library fills its own refresh tokens in the same way without
 * asking.
 */
export function successorPayload(used: AdapterPayload, { iat, exp }: Validity): AdapterPayload {
  const { redirectUri: _, codeChallenge: __, codeChallengeMethod: ___, gty, rotations, iiat, ...kept } = used;
  const follows = used.kind === 'RefreshToken';
  return {
    ...kept,
    kind: 'RefreshToken',
    iat,
    exp,
    iiat: follows ? iiat : iat,
    gty: follows ? `${String(gty).replace(/ refresh_token$/, '')} refresh_token` : 'authorization_code',
    rotations: follows ? (rotations ?? 0) + 1 : 0,
  };
}
