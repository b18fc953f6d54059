/** The hooks through which oidc-provider gets the contents of its tokens from the shared functions of issuance/. */
import {
  errors,
  type AccessToken,
  type ClientCredentials,
  type Configuration,
  type KoaContextWithOIDC,
} from 'oidc-provider';
import type { AccessTokenClaims } from '../../keys/token_verifier.ts';
import { recordOf } from '../client_authentication/provider_clients.ts';
import type { ClaimMapping } from '../../base/claim_mappings.ts';
import type { RoleDirectory } from '../../roles/role_directory.ts';
import { exchangeOf } from '../grants/exchanged_token.ts';
import { accessTokenClaims } from '../issuance/access_token.ts';
import { loginClaims, type Login } from '../issuance/issuance.ts';
import { getsRefreshToken, isRotated, lostOfflineAccess, refreshTokenSeconds } from '../issuance/refresh_token.ts';
import { givenBy, mappedClaims } from '../issuance/person_claims.ts';
import { splitScope } from '../issuance/scope_values.ts';
import { askedClaims, isAgreed } from '../issuance/single_claims.ts';
import { accessOf, readAudience } from '../issuance/userinfo_audience.ts';
import { noteClaims } from '../request/request_events.ts';
import { sourceOf } from '../request/token_source.ts';
import type { ResourcePolicy } from '../tokens/resource_policy.ts';
import { claimsOfJwt, personIn } from './library_types.ts';

export const OPAQUE_ACCESS_TOKEN_SECONDS = 600;

interface TokenSettings {
  readonly issuer: string;
  readonly refreshTtlSeconds: number;
  readonly refreshAbsoluteTtlSeconds: number;
}

export function tokenHooks({
  issuer,
  policy,
  roles,
}: TokenSettings & { readonly policy: ResourcePolicy; readonly roles: RoleDirectory }) {
  return {
    issueRefreshToken: (_ctx, client, { scope }) => getsRefreshToken(recordOf(client).metadata, scope),
    // called for each refresh, before the token is used up
    rotateRefreshToken: (ctx) => {
      const { oidc } = ctx;
      policy.demandPermitted(ctx);
      const { metadata } = recordOf(oidc.client!);
      if (lostOfflineAccess(metadata, oidc.entities.RefreshToken?.scope)) {
        throw new errors.InvalidGrant('the client is not registered for offline_access any more');
      }
      return isRotated(metadata);
    },
    formats: {
      customizers: {
        jwt: (ctx, token, structured) => {
          const claims = jwtClaims({ issuer, policy, roles }, ctx, token, claimsOfJwt(structured));
          structured.payload = claims;
          // the library knows the scope of the API alone, and answers with the scope that it finds here
          if (Array.isArray(claims.aud)) token.scope = claims.scope;
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

interface ClaimSettings {
  readonly issuer: string;
  readonly policy: ResourcePolicy;
  readonly roles: RoleDirectory;
}

/** Returns the claims of a JWT access token, given the claims that the library would sign without this hook. */
function jwtClaims(
  { issuer, policy, roles }: ClaimSettings,
  ctx: KoaContextWithOIDC,
  token: AccessToken | ClientCredentials,
  { jti, sub, iat, exp, scope, aud, cnf, authorization_details }: AccessTokenClaims,
) {
  const grantId = 'grantId' in token ? token.grantId : undefined;
  const openid = openidOf(ctx, String(aud), { issuer, policy });
  const access = accessOf(String(aud), scope ?? '', openid, issuer);
  return accessTokenClaims({
    issuer,
    client: recordOf(token.client!),
    jti,
    sub,
    iat,
    exp,
    audience: access.audience,
    scope: access.scope || undefined,
    grantId,
    login: grantId === undefined ? undefined : loginOf(ctx),
    carried: exchangeOf(token)?.claims,
    authorizationDetails: authorization_details,
    confirmation: cnf,
    singleClaims: openid.length > 0 ? singleClaims(ctx, String(aud)) : undefined,
    added: addedClaims(ctx, token, policy.claimMappings(String(aud)), roles),
  });
}

/** The claims about the person that an admin has added for the API. */
function addedClaims(
  ctx: KoaContextWithOIDC,
  token: object,
  mappings: readonly ClaimMapping[],
  roles: RoleDirectory,
): Readonly<Record<string, unknown>> | undefined {
  const source = sourceOf(ctx);
  if (mappings.length === 0) return undefined;
  if (source) {
    const openid = splitScope(ctx.oidc.entities.Grant?.getOIDCScopeFiltered(source.scopes));
    return mappedClaims(mappings, personIn(ctx), roles, { gets: givenBy(openid), isToken: true });
  }
  // the groups of an exchanged token's subject are known, and the person has granted no scope of OpenID Connect for it
  const memberships = exchangeOf(token)?.memberships;
  return memberships && mappedClaims(mappings, { memberships }, roles, { gets: () => false, isToken: true });
}

/**
 * The scopes of OpenID Connect of a token that is for userinfo too. A client that names the API at this endpoint gets a
 * token for the API alone (RFC 8707, 2.2).
 */
function openidOf(
  ctx: KoaContextWithOIDC,
  api: string,
  { issuer, policy }: { readonly issuer: string; readonly policy: ResourcePolicy },
): readonly string[] {
  const source = sourceOf(ctx);
  const { client, params, requestParamScopes, entities } = ctx.oidc;
  if (!source || !readAudience(params?.['resource'] ?? source.resource, issuer)?.withUserinfo) return [];
  const asked = params?.['scope'] === undefined ? source.scopes : requestParamScopes;
  const forUserinfo = splitScope(entities.Grant?.getOIDCScopeFiltered(asked));
  const ofApi = splitScope(entities.Grant?.getResourceScope(api));
  return policy.userinfoScopes(recordOf(client!), api, { ofApi, forUserinfo });
}

/** The claims that the client asked for one by one at userinfo, and that the person has granted to it and to the API. */
function singleClaims(ctx: KoaContextWithOIDC, api: string): string[] | undefined {
  const { client, entities } = ctx.oidc;
  const asked = askedClaims(recordOf(client!).metadata, sourceOf(ctx)?.claims, 'userinfo');
  const ofApi = splitScope(entities.Grant?.getResourceScope(api));
  const granted = entities.Grant?.getOIDCClaimsFiltered(new Set(asked)) ?? [];
  const agreed = granted.filter((claim) => isAgreed(ofApi, claim));
  return agreed.length > 0 ? agreed : undefined;
}

/** The login behind the code or token of this request; refresh tokens keep it. */
function loginOf(ctx: KoaContextWithOIDC): Login {
  return sourceOf(ctx) ?? {};
}
