/** Single claims that a client requests with the `claims` parameter (OpenID Connect Core, 5.5). */
import { errors, interactionPolicy, type KoaContextWithOIDC } from 'oidc-provider';
import { z } from 'zod';
import { claimOfEntry, entryOfClaim } from '../../accounts/data_for_apis.ts';
import { recordOf } from '../client_authentication/provider_clients.ts';
import { splitScope } from '../issuance/scope_values.ts';
import { dataForApi, isAgreed } from '../issuance/single_claims.ts';
import { readAudience } from '../issuance/userinfo_audience.ts';

const LONGEST_DOCUMENT_CHARACTERS = 8_000;

const value = z.union([z.string().max(500), z.number(), z.boolean()]);
/** OpenID Connect Core, 5.5.1. */
const ClaimRequest = z
  .looseObject({ essential: z.boolean(), value, values: z.array(value).min(1).max(50) })
  .partial()
  .nullable();

const ClaimsRequest = z.record(
  z.string().min(1).max(200),
  ClaimRequest.refine((request) => request?.value === undefined || request.values === undefined),
);
const ClaimsDocument = z.looseObject({ userinfo: ClaimsRequest.optional(), id_token: ClaimsRequest.optional() });

/**
 * Throws `invalid_request` unless the `claims` parameter is valid and small enough to be stored with every token of the
 * grant. The library checks only the outer structure, and would fail on invalid members.
 */
export function demandBoundedClaims({ oidc }: KoaContextWithOIDC, claims: object): void {
  if (String(oidc.params?.['claims']).length > LONGEST_DOCUMENT_CHARACTERS)
    throw new errors.InvalidRequest(`claims must not exceed ${LONGEST_DOCUMENT_CHARACTERS} characters`);
  const { error } = ClaimsDocument.safeParse(claims);
  if (error)
    throw new errors.InvalidRequest(
      'claims must map claim names, under userinfo and id_token, to null or an object with essential, value or values',
    );
  const all = Object.values(claims).flatMap((one: unknown) => Object.keys(one ?? {}));
  if (all.includes('__proto__')) throw new errors.InvalidRequest('claims must not contain __proto__');
}

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
