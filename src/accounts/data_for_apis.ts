/**
 * What a person lets an API read about them at userinfo. Grants and consents keep it among the scopes of that API, so it is
 * for that API alone and ends with it. The entries are scopes of OpenID Connect, whose names no API can have, and single
 * claims in quotes, which no scope contains (RFC 6749, 3.3).
 */
import { userinfoIdentifier } from '../resources/own_identifiers.ts';

/** Scopes that tell more about a person than `sub`, which each token has. */
export const SCOPES_ABOUT_PERSON: ReadonlySet<string> = new Set(['profile', 'email', 'address', 'phone']);

/** The entry for a claim that is asked for by its name. */
export function entryOfClaim(claim: string): string {
  return `"${claim}"`;
}

/** The claim of an entry; `undefined` for a scope. */
export function claimOfEntry(entry: string): string | undefined {
  return entry.startsWith('"') ? entry.slice(1, -1) : undefined;
}

/** What was allowed at one API: its scopes and those of OpenID Connect, and single claims by their names. */
export interface AllowedAtApi {
  readonly resource: string;
  readonly scopes: string[];
  readonly claims: string[];
}

/** Tells scopes and claims apart in the entries of each API. */
export function allowedAtApis(resources: Readonly<Record<string, readonly string[]>>): AllowedAtApi[] {
  return Object.entries(resources).map(([resource, entries]) => ({
    resource,
    scopes: entries.filter((entry) => claimOfEntry(entry) === undefined),
    claims: entries.flatMap((entry) => claimOfEntry(entry) ?? []),
  }));
}

/** Whether an entry lets the API read data, and is no scope of the API itself. */
export function isAboutPerson(entry: string): boolean {
  return SCOPES_ABOUT_PERSON.has(entry) || claimOfEntry(entry) !== undefined;
}

/** Whether a request with these resources is for a token that the API can use at userinfo. */
export function isForUserinfo(resources: readonly unknown[], issuer: string): boolean {
  return resources.includes(userinfoIdentifier(issuer));
}
