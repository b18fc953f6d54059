/**
 * Access tokens that are for userinfo besides one API (docs/adr/0050-tokens-for-an-api-and-userinfo.md). A client that
 * asks for `openid` and for scopes of an API, and names no resource, gets such a token.
 */
import { SCOPES_ABOUT_PERSON } from '../../accounts/data_for_apis.ts';
import type { ClientMetadata } from '../../clients/metadata/client_metadata.ts';
import { isFapi2 } from '../../clients/metadata/security_profile.ts';
import { OPENID_SCOPES, type Resource } from '../../resources/resource.ts';
import { userinfoIdentifier } from '../../resources/own_identifiers.ts';
import { stillRegistered } from './scope_values.ts';

/** The claim `aud` (RFC 7519, 4.1.3): an API, or an API and userinfo. */
export type Audience = string | string[];

type Client = { readonly metadata: Pick<ClientMetadata, 'profile' | 'scope' | 'userinfo_audience'> };

const OPENID: ReadonlySet<string> = new Set(OPENID_SCOPES);

/** What a person has granted of one API, and of OpenID Connect if the request was for userinfo too. */
export interface GrantedScopes {
  /** With what the API may read at userinfo (accounts/data_for_apis.ts). */
  readonly ofApi: readonly string[];
  readonly forUserinfo: readonly string[];
}

/** The one API of a list of resources, and whether the list has userinfo besides; `undefined` for any other list. */
export function readAudience(
  resources: unknown,
  issuer: string,
): { readonly api: string; readonly withUserinfo: boolean } | undefined {
  if (typeof resources === 'string') return { api: resources, withUserinfo: false };
  if (!Array.isArray(resources)) return undefined;
  const userinfo = userinfoIdentifier(issuer);
  const apis = (resources as unknown[]).filter((one) => one !== userinfo);
  const [api] = apis;
  if (apis.length !== 1 || typeof api !== 'string') return undefined;
  return { api, withUserinfo: resources.length > 1 };
}

/** Never for the admin API, nor for a client that FAPI 2.0 holds to one audience. */
export function mayAddUserinfo(
  { metadata }: Client,
  { identifier, userinfoAudience }: Resource,
  issuer: string,
): boolean {
  const isAdminApi = identifier.startsWith(`${issuer}/admin/`);
  return !isAdminApi && userinfoAudience && metadata.userinfo_audience !== false && !isFapi2(metadata);
}

/**
 * The scopes of OpenID Connect that the token carries, of those that the person has granted to the client and to the API;
 * none if it is for the API alone.
 */
export function userinfoScopes(
  client: Client,
  resource: Resource,
  { ofApi, forUserinfo }: GrantedScopes,
  issuer: string,
): readonly string[] {
  const agreed = forUserinfo.filter((scope) => !SCOPES_ABOUT_PERSON.has(scope) || ofApi.includes(scope));
  const scopes = stillRegistered(client.metadata, agreed);
  return scopes.includes('openid') && mayAddUserinfo(client, resource, issuer) ? scopes : [];
}

/** What `aud` and `scope` say: all scopes of OpenID Connect come first. */
export function accessOf(api: string, apiScope: string, openid: readonly string[], issuer: string) {
  if (openid.length === 0) return { audience: api, scope: apiScope };
  const audience: Audience = [api, userinfoIdentifier(issuer)];
  return { audience, scope: [...openid, ...(apiScope === '' ? [] : [apiScope])].join(' ') };
}

/** Of the scopes of a request, those for which the person must agree that an API can use them at userinfo. */
export function scopesAboutPerson(scopes: readonly string[]): string[] {
  return scopes.filter((scope) => SCOPES_ABOUT_PERSON.has(scope));
}

/** What an API sees of a token's scope: its own scopes. */
export function scopeForApi(scope: string | undefined): string | undefined {
  return (
    scope
      ?.split(' ')
      .filter((name) => !OPENID.has(name))
      .join(' ') || undefined
  );
}
