/**
 * Ends what admins prepared for accounts before these got scopes of the admin API: links to a password, and enrolment
 * codes. account_rights.ts compares rights at the moment of the call, so an admin with fewer rights could otherwise make a
 * link for an ordinary account, keep it, and use it after the account has become one of an admin.
 */
import type { UnitOfWork } from '../audit/unit_of_work.ts';
import { endPreparedLinks } from '../accounts/prepared_links.ts';
import { accessBeyond } from '../clients/metadata/access.ts';
import { endEnrolmentCodes } from '../factors/enrolment_codes.ts';
import type { Group } from '../roles/group.ts';
import { lockIfRolesGive, lockPeopleOfGroup, lockPeopleWithRole } from '../roles/new_holders.ts';
import type { Role } from '../roles/role.ts';
import type { AdminCall } from './admin_call.ts';
import { adminResourceIdentifier } from './scopes.ts';

/** Whether the members of a group have scopes of the admin API through its roles. Locks the roles. */
export function givesAdminScopes(call: AdminCall, work: UnitOfWork, roles: readonly string[]): Promise<boolean> {
  return lockIfRolesGive(work.tx, roles, adminResourceIdentifier(call.dependencies.issuer));
}

/** For an account that the caller has locked. */
export function endPreparedAccess(work: UnitOfWork, accountId: string): Promise<void> {
  return endAll(work, [accountId]);
}

/** For the members of a locked group, if it has got a role with scopes of the admin API. */
export async function endPreparedAccessOfGroup(
  call: AdminCall,
  work: UnitOfWork,
  { before, after }: { readonly before: Group; readonly after: Group },
): Promise<void> {
  const added = after.roles.filter((role) => !before.roles.includes(role));
  if (await givesAdminScopes(call, work, added)) await endAll(work, await lockPeopleOfGroup(work.tx, after.groupId));
}

/** For the people who hold a locked role, if it has got scopes of the admin API. */
export async function endPreparedAccessOfRole(
  call: AdminCall,
  work: UnitOfWork,
  { before, after }: { readonly before: Role; readonly after: Role },
): Promise<void> {
  const adminResource = adminResourceIdentifier(call.dependencies.issuer);
  const added = accessBeyond(after.resources, before.resources);
  if (added.some(({ resource }) => resource === adminResource))
    await endAll(work, await lockPeopleWithRole(work.tx, after.name));
}

async function endAll(work: UnitOfWork, accountIds: readonly string[]): Promise<void> {
  if (accountIds.length === 0) return;
  await endPreparedLinks(work, accountIds);
  await endEnrolmentCodes(work, accountIds);
}
