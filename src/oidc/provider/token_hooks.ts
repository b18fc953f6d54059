/** The hooks by which oidc-provider takes what stands in its tokens from the shared functions (issuance/issuance.ts). */
import {
  errors,
  type AccessToken,
  type ClientCredentials,
  type Configuration,
  type KoaContextWithOIDC,
} from 'oidc-provider';
import type { AccessTokenClaims } from '../../keys/token_verifier.ts';
import { recordOf } from '../client_authentication/provider_clients.ts';
import { carriedClaims } from '../grants/exchanged_token.ts';
import { accessTokenClaims } from '../issuance/access_token.ts';
import { loginClaims, type Login } from '../issuance/issuance.ts';
import { getsRefreshToken, isRotated, lostOfflineAccess, refreshTokenSeconds } from '../issuance/refresh_token.ts';
import { noteClaims } from '../request/request_events.ts';
import { claimsOfJwt } from './library_types.ts';

export const OPAQUE_ACCESS_TOKEN_SECONDS = 600;

interface TokenSettings {
  readonly issuer: string;
  readonly refreshTtlSeconds: number;
  readonly refreshAbsoluteTtlSeconds: number;
}

export function tokenHooks({ issuer }: TokenSettings) {
  return {
    issueRefreshToken: (_ctx, client, { scope }) => getsRefreshToken(recordOf(client).metadata, scope),
    // called for each refresh, before the token is used up
    rotateRefreshToken: ({ oidc }) => {
      const { metadata } = recordOf(oidc.client!);
      if (lostOfflineAccess(metadata, oidc.entities.RefreshToken?.scope)) {
        throw new errors.InvalidGrant('the client is not registered for offline_access any more');
      }
      return isRotated(metadata);
    },
    formats: {
      customizers: {
        jwt: (ctx, token, structured) => {
          const claims = ourClaims(issuer, ctx, token, claimsOfJwt(structured));
          structured.payload = claims;
          noteClaims(token, claims);
        },
      },
    },
    // an opaque token says when it is introspected how its person logged in; of a JWT the customizer above sets all claims
    extraTokenClaims: (ctx, token) =>
      'aud' in token && token.aud !== undefined ? undefined : loginClaims(loginOf(ctx)),
  } satisfies Partial<Configuration>;
}

export function tokenLifetimes(settings: TokenSettings) {
  const accessTokenTtl = (
    _: unknown,
    token: { resourceServer?: { accessTokenTTL?: number | undefined } | undefined },
  ): number => token.resourceServer?.accessTokenTTL ?? OPAQUE_ACCESS_TOKEN_SECONDS;
  return {
    AccessToken: accessTokenTtl,
    ClientCredentials: accessTokenTtl,
    RefreshToken: (_ctx, _token, client) => refreshTokenSeconds(recordOf(client).metadata, settings),
  } satisfies Configuration['ttl'];
}

/** The claims of a JWT access token of the library's, which has chosen those that it would sign without us. */
function ourClaims(
  issuer: string,
  ctx: KoaContextWithOIDC,
  token: AccessToken | ClientCredentials,
  { jti, sub, iat, exp, scope, aud, cnf, authorization_details }: AccessTokenClaims,
) {
  const grantId = 'grantId' in token ? token.grantId : undefined;
  return accessTokenClaims({
    issuer,
    client: recordOf(token.client!),
    jti,
    sub,
    iat,
    exp,
    audience: aud,
    scope,
    grantId,
    login: grantId === undefined ? undefined : loginOf(ctx),
    carried: carriedClaims(token),
    authorizationDetails: authorization_details,
    confirmation: cnf,
  });
}

/** The login that a token is from, for as long as it is refreshed. */
function loginOf({ oidc }: KoaContextWithOIDC): Login {
  const { AuthorizationCode, DeviceCode, BackchannelAuthenticationRequest, RefreshToken } = oidc.entities;
  return AuthorizationCode ?? DeviceCode ?? BackchannelAuthenticationRequest ?? RefreshToken ?? {};
}
