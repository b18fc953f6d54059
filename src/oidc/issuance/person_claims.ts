/** The claims about a person that an admin has added for a client or a resource: groups, roles and claim mappings. */
import type { Account } from '../../accounts/account.ts';
import { OMITTED, type ClaimMapping, type ClaimSource } from '../../base/claim_mappings.ts';
import type { ClientMetadata } from '../../clients/metadata/client_metadata.ts';
import type { Memberships } from '../../roles/memberships.ts';
import type { RoleDirectory } from '../../roles/role_directory.ts';
import { accountClaims, CLAIMS_BY_SCOPE } from './id_token.ts';

/** A token has no more names than this; userinfo has all. */
const NAMES_IN_TOKEN = 200;

export interface ClaimsAbout {
  /** Absent for a subject of which only the groups are known. */
  readonly account?: Account | undefined;
  readonly memberships: Memberships;
}

export interface Destination {
  /** Whether the receiver gets this member of the profile: the person has granted a scope that gives it. */
  readonly gets: (member: ClaimSource) => boolean;
  readonly isToken: boolean;
}

/** Returns the added claims, given which members of the profile the receiver gets. */
export type AddedClaims = (gets: Destination['gets']) => Readonly<Record<string, unknown>> | undefined;

/** The member of an account's claims that has this function; the library copies it along with the claims. */
export const ADDED_CLAIMS = Symbol('added claims');

/** The mappings of a client, in which `account_claims` are mappings under their own names. */
export function mappingsOf({
  account_claims: own = [],
  claim_mappings: others = [],
}: Pick<ClientMetadata, 'account_claims' | 'claim_mappings'>): readonly ClaimMapping[] {
  return own.length === 0 ? others : [...own.map((claim) => ({ claim, from: claim })), ...others];
}

/** The claims by these mappings. `undefined` without a mapping, so that nothing is computed. */
export function mappedClaims(
  mappings: readonly ClaimMapping[],
  { account, memberships }: ClaimsAbout,
  roles: RoleDirectory,
  { gets, isToken }: Destination,
): Readonly<Record<string, unknown>> | undefined {
  if (mappings.length === 0) return undefined;
  const profile: Readonly<Record<string, unknown>> = account ? accountClaims(account) : {};
  return Object.fromEntries(
    mappings.flatMap(({ claim, from }): [string, unknown][] => {
      if (from !== 'groups' && from !== 'roles')
        return gets(from) && profile[from] !== undefined ? [[claim, profile[from]]] : [];
      const names = from === 'groups' ? roles.groupNames(memberships) : roles.roleNames(memberships);
      return isToken && names.length > NAMES_IN_TOKEN ? [[claim + OMITTED, true]] : [[claim, names]];
    }),
  );
}

/** Which members of the profile these scopes give. */
export function givenBy(scopes: readonly string[]): (member: ClaimSource) => boolean {
  const claims = new Set(
    scopes.flatMap((scope) => (CLAIMS_BY_SCOPE as Readonly<Record<string, string[]>>)[scope] ?? []),
  );
  return (member) => claims.has(member);
}
