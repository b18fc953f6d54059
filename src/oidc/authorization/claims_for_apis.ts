/** Single claims that an API can read at userinfo with the token of a request. */
import { interactionPolicy, type KoaContextWithOIDC } from 'oidc-provider';
import { claimOfEntry, entryOfClaim } from '../../accounts/data_for_apis.ts';
import { recordOf } from '../client_authentication/provider_clients.ts';
import { splitScope } from '../issuance/scope_values.ts';
import { dataForApi, isAgreed } from '../issuance/single_claims.ts';
import { readAudience } from '../issuance/userinfo_audience.ts';

/**
 * The claims that an API can read at userinfo with the token of the request, without those of requested scopes;
 * `undefined` if the request is not for an API and userinfo.
 */
export function claimsForApi({
  oidc,
}: KoaContextWithOIDC): { readonly api: string; readonly claims: string[] } | undefined {
  const audience = readAudience(Object.keys(oidc.resourceServers ?? {}), oidc.issuer);
  if (!audience?.withUserinfo) return undefined;
  const { scope, claims } = oidc.params ?? {};
  const entries = dataForApi(recordOf(oidc.client!).metadata, splitScope(scope), claims);
  return { api: audience.api, claims: entries.map(claimOfEntry).filter((claim) => claim !== undefined) };
}

/** The claims that an API can read and that the grant does not let it read, as entries of accounts/data_for_apis.ts. */
export function missingForApi(ctx: KoaContextWithOIDC): Readonly<Record<string, string[]>> {
  const { api, claims } = claimsForApi(ctx) ?? { claims: [] };
  if (api === undefined) return {};
  const granted = splitScope(ctx.oidc.entities.Grant?.getResourceScopeEncountered(api));
  return { [api]: claims.filter((claim) => !isAgreed(granted, claim)).map(entryOfClaim) };
}

/** Asks the person about claims that the API can read; the library asks only about those that the client gets. */
export function claimsForApiAreMissing(): InstanceType<typeof interactionPolicy.Check> {
  return new interactionPolicy.Check(
    'api_claims_missing',
    'requested claims not granted for the API',
    'consent_required',
    (ctx) => Object.values(missingForApi(ctx)).some((entries) => entries.length > 0),
    (ctx) => ({ missingApiClaims: missingForApi(ctx) }),
  );
}
