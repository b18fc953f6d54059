/** Takes scopes that a resource loses from the roles that have them, if the caller says so. */
import { z } from 'zod';
import type { UnitOfWork } from '../audit/unit_of_work.ts';
import type { Resource } from '../resources/resource.ts';
import { findResource } from '../resources/resource_rows.ts';
import { takeScopesFromRoles } from '../roles/opened_scopes.ts';
import type { AdminCall } from './admin_call.ts';
import { forbidden } from './privilege_check.ts';

export const OpenQuery = z.strictObject({
  open_scopes: z
    .enum(['true', 'false'], 'must be true or false')
    .default('false')
    .describe(
      'true: also take removed scopes from the roles that have them, for which the caller needs roles:write. Everybody can get a later scope of the same name.',
    ),
});

/** The caller needs roles:write too: without it, an admin of resources could end what a role keeps for some people. */
export async function openScopes(
  { caller }: AdminCall,
  work: UnitOfWork,
  identifier: string,
  remaining: Resource['scopes'],
): Promise<void> {
  const resource = await findResource(work.tx, identifier);
  if (!resource) return;
  const names = new Set(remaining.map(({ name }) => name));
  const roles = await takeScopesFromRoles(work, resource.identifier, (scope) => !names.has(scope));
  if (roles.length > 0 && !caller.scopes.has('roles:write'))
    throw forbidden(`Roles have scopes that would be removed (${roles.slice(0, 3).join(', ')}); you need roles:write.`);
}
