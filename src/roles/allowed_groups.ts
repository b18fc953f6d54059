/** Which people may use a client: every person, or the members of the groups that an admin has named. */
import type { ClientMetadata } from '../clients/metadata/client_metadata.ts';
import type { Memberships } from './memberships.ts';

export function isAllowedToUse(
  { allowed_groups: groups }: Pick<ClientMetadata, 'allowed_groups'>,
  memberships: Memberships,
): boolean {
  return groups === undefined || groups.some((groupId) => Object.hasOwn(memberships, groupId));
}
