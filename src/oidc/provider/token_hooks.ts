/** The hooks through which oidc-provider gets the contents of its tokens from the shared functions of issuance/. */
import type { AccessToken, ClientCredentials, Configuration, KoaContextWithOIDC } from 'oidc-provider';
import type { AccessTokenClaims } from '../../keys/token_verifier.ts';
import { recordOf } from '../client_authentication/provider_clients.ts';
import { carriedClaims } from '../grants/exchanged_token.ts';
import { accessTokenClaims } from '../issuance/access_token.ts';
import { loginClaims, type Login } from '../issuance/issuance.ts';
import { getsRefreshToken, isRotated, refreshTokenSeconds } from '../issuance/refresh_token.ts';
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
    issueRefreshToken: (_ctx, client) => getsRefreshToken(recordOf(client).metadata),
    rotateRefreshToken: ({ oidc }) => isRotated(recordOf(oidc.client!).metadata),
    formats: {
      customizers: {
        jwt: (ctx, token, structured) => {
          const claims = jwtClaims(issuer, ctx, token, claimsOfJwt(structured));
          structured.payload = claims;
          noteClaims(token, claims);
        },
      },
    },
    // introspection shows how the person of an opaque token logged in; the customizer above sets all claims of a JWT
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

/** Returns the claims of a JWT access token, given the claims that the library would sign without this hook. */
function jwtClaims(
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

/** The login behind the code or token of this request; refresh tokens keep it. */
function loginOf({ oidc }: KoaContextWithOIDC): Login {
  const { AuthorizationCode, DeviceCode, BackchannelAuthenticationRequest, RefreshToken } = oidc.entities;
  return AuthorizationCode ?? DeviceCode ?? BackchannelAuthenticationRequest ?? RefreshToken ?? {};
}
