/**
 * Claims that a client asks for one by one (OpenID Connect Core, 5.5). Each counts like the scope that contains it: a client
 * may have it if it is registered for that scope, or for no list of scopes.
 */
import type { AccountClaims } from 'oidc-provider';
import { entryOfClaim } from '../../accounts/data_for_apis.ts';
import type { ClientMetadata } from '../../clients/metadata/client_metadata.ts';
import { CLAIMS_BY_SCOPE } from './id_token.ts';
import { stillRegistered } from './scope_values.ts';
import { scopesAboutPerson } from './userinfo_audience.ts';

type Metadata = Pick<ClientMetadata, 'scope'>;

/** The claims about a person; `openid` has the others, which each login tells. */
const SCOPE_OF: ReadonlyMap<string, string> = new Map(
  Object.entries(CLAIMS_BY_SCOPE)
    .filter(([scope]) => scope !== 'openid')
    .flatMap(([scope, claims]) => claims.map((claim) => [claim, scope] as const)),
);

function mayHave(metadata: Metadata, claim: string): boolean {
  const scope = SCOPE_OF.get(claim);
  return scope === undefined || stillRegistered(metadata, [scope]).length > 0;
}

/** What is known about a person, without what the client may not have today. */
export function claimsFor(metadata: Metadata, claims: AccountClaims): AccountClaims {
  const available = Object.entries(claims).filter(([claim]) => mayHave(metadata, claim));
  return { ...Object.fromEntries(available), sub: claims.sub };
}

/** The parameter `claims` without those that the client may not have; `undefined` if none is left. */
export function narrowedClaims(metadata: Metadata, parameter: string): string | undefined {
  const parts = Object.entries(documentOf(parameter)).map(([part, asked]) => {
    const available = Object.entries(asked ?? {}).filter(([claim]) => mayHave(metadata, claim));
    return [part, Object.fromEntries(available)] as const;
  });
  const left = parts.filter(([, asked]) => Object.keys(asked).length > 0);
  return left.length === 0 ? undefined : JSON.stringify(Object.fromEntries(left));
}

/** The claims about the person that a request asks for in this part, as far as the client may have them. */
export function askedClaims(metadata: Metadata, claims: unknown, part: 'userinfo' | 'id_token'): string[] {
  const asked = Object.keys(documentOf(claims)[part] ?? {});
  return asked.filter((claim) => SCOPE_OF.has(claim) && mayHave(metadata, claim));
}

/** What an API can read at userinfo with the token of a request, as entries of accounts/data_for_apis.ts. */
export function dataForApi(metadata: Metadata, scopes: readonly string[], claims: unknown): string[] {
  const asked = scopesAboutPerson(stillRegistered(metadata, scopes));
  const single = askedClaims(metadata, claims, 'userinfo').filter((claim) => !isAgreed(asked, claim));
  return [...asked, ...single.map(entryOfClaim)];
}

/** Whether the entries of an API include the claim, alone or with all of its scope. */
export function isAgreed(entries: readonly string[], claim: string): boolean {
  return entries.includes(entryOfClaim(claim)) || entries.includes(SCOPE_OF.get(claim) ?? claim);
}

type ClaimsDocument = Readonly<Record<string, Readonly<Record<string, unknown>> | undefined>>;

/** `claims` as a parameter or as it is stored. authorization/claims.ts has validated it. */
function documentOf(claims: unknown): ClaimsDocument {
  return (typeof claims === 'string' ? JSON.parse(claims) : (claims ?? {})) as ClaimsDocument;
}
