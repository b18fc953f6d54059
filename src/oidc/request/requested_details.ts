/** The authorization details (RFC 9396) of a request. The library has validated that they are objects with a `type`. */
import type { AuthorizationDetail, KoaContextWithOIDC } from 'oidc-provider';

export type Details = readonly AuthorizationDetail[];

/** Parses the `authorization_details` parameter; `undefined` if the request has none. */
export function requestedDetails({ oidc }: KoaContextWithOIDC): Details | undefined {
  const given = oidc.params?.['authorization_details'];
  return typeof given === 'string' ? (JSON.parse(given) as Details) : undefined;
}

/** The resources that a detail names. The library has validated that they are an array of strings. */
export function locationsOf({ locations }: AuthorizationDetail): readonly string[] | undefined {
  return locations as readonly string[] | undefined;
}

/**
 * The types of the details, without duplicates. The audit trail stores no other member, because others may be personal
 * data.
 */
export function typesOf(details: Details | undefined): string[] | undefined {
  return details && details.length > 0 ? [...new Set(details.map(({ type }) => type))] : undefined;
}
