/** The code or refresh token that a token request presents. */
import type { KoaContextWithOIDC } from 'oidc-provider';

/** `undefined` before the library has found it, and for grants that need none. */
export function sourceOf({ oidc }: KoaContextWithOIDC) {
  const { AuthorizationCode, DeviceCode, BackchannelAuthenticationRequest, RefreshToken } = oidc.entities;
  return AuthorizationCode ?? DeviceCode ?? BackchannelAuthenticationRequest ?? RefreshToken;
}
