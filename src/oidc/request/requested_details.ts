/** The authorization details (RFC 9396) of a request, as the library has found them to be: objects that each have a type. */
import type { AuthorizationDetail, KoaContextWithOIDC } from 'oidc-provider';

export type Details = readonly AuthorizationDetail[];

export function askedFor({ oidc }: KoaContextWithOIDC): Details | undefined {
  const given = oidc.params?.['authorization_details'];
  return typeof given === 'string' ? (JSON.parse(given) as Details) : undefined;
}

/** The resources that a detail names; an array of strings, as the library has seen to. */
export function locationsOf({ locations }: AuthorizationDetail): readonly string[] | undefined {
  return locations as readonly string[] | undefined;
}

/** For the trail, the types alone: what stands beside them may be about people. */
export function typesOf(details: Details | undefined): string[] | undefined {
  return details && details.length > 0 ? [...new Set(details.map(({ type }) => type))] : undefined;
}
