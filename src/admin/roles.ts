/** Routes for roles: create, list, show, change and delete. */
import { z } from 'zod';
import { notFound } from '../base/refusal.ts';
import { accessBeyond } from '../clients/metadata/access.ts';
import { NO_CONTENT } from '../http/route.ts';
import { refuseToOpen } from '../roles/opened_scopes.ts';
import { NewRole, RolePatch, type Role } from '../roles/role.ts';
import { createRole, deleteRole, findRole, lockRole, readRoles, updateRole } from '../roles/role_store.ts';
import { requireRightsOfRole } from './account_rights.ts';
import { adminRoute, type AdminCall, type AdminRoute } from './admin_call.ts';
import { pageOf, paging, type List } from './cursors.ts';
import { entityTag } from './entity_tag.ts';
import { endPreparedAccessOfRole } from './prepared_access.ts';
import { adminResourceIdentifier } from './scopes.ts';
import { Timestamp, timestamp } from './shared_members.ts';

const RoleView = z
  .strictObject({ ...NewRole.shape, created_at: Timestamp, updated_at: Timestamp })
  .meta({ id: 'Role' });

const RoleParams = z.strictObject({ name: z.string().min(1).max(64).describe('The role.') });
const ListQuery = z.strictObject(paging);
const OpenQuery = z.strictObject({
  open_scopes: z
    .enum(['true', 'false'], 'must be true or false')
    .default('false')
    .describe('true: apply the change although some scopes are then in no role, so that everybody can get them.'),
});
type OpenQuery = z.output<typeof OpenQuery>;

const example = {
  name: 'editor',
  description: 'Writes and publishes articles',
  resources: [{ resource: 'https://api.example.com', scopes: ['articles:write'] }],
};

export const roleRoutes: readonly AdminRoute[] = [
  adminRoute({
    method: 'POST',
    path: '/roles',
    scope: 'roles:write',
    tag: 'roles',
    summary: 'Create a role',
    description:
      'From then on, a person gets the scopes of the role only through a role. A role with scopes of the admin API makes admins; the caller can use only those admin scopes that its own token carries.',
    body: NewRole.meta({ id: 'NewRole', examples: [example] }),
    reply: { status: 201, description: 'The role.', body: RoleView, headers: ['ETag', 'Location'] },
    refuses: [409],
    handle: ({ body }, call) =>
      call.write(async (work) => {
        const role = await createRole(work, body);
        await requireRightsOfRole(call, work.tx, role.name);
        const location = `${adminResourceIdentifier(call.dependencies.issuer)}/roles/${role.name}`;
        return { status: 201, headers: { ETag: entityTag(role.version), Location: location }, body: roleView(role) };
      }),
  }),
  adminRoute({
    method: 'GET',
    path: '/roles',
    scope: 'roles:read',
    tag: 'roles',
    summary: 'List roles, ordered by name',
    query: ListQuery,
    reply: { status: 200, description: 'A page of roles.', body: pageOf(RoleView) },
    handle: ({ query }, call) => list(call, query),
  }),
  adminRoute({
    method: 'GET',
    path: '/roles/{name}',
    scope: 'roles:read',
    tag: 'roles',
    summary: 'Show a role',
    params: RoleParams,
    reply: { status: 200, description: 'The role.', body: RoleView, headers: ['ETag'] },
    refuses: [404],
    async handle({ params }, call) {
      const role = await findRole(call.dependencies.database, params.name);
      if (!role) throw notFound(`Role ${params.name} not found.`);
      return call.show(entityTag(role.version), roleView(role));
    },
  }),
  adminRoute({
    method: 'PATCH',
    path: '/roles/{name}',
    scope: 'roles:write',
    tag: 'roles',
    summary: 'Change a role (JSON merge patch)',
    description:
      'The new list of resources replaces the old one, and takes effect within a second. To add scopes, the caller needs every admin scope of the people who hold the role. If they are scopes of the admin API, the unused links to a password and enrolment codes of these people end.',
    params: RoleParams,
    query: OpenQuery,
    body: RolePatch.meta({ id: 'RolePatch', examples: [{ description: 'Writes articles' }] }),
    reply: { status: 200, description: 'The role after the change.', body: RoleView, headers: ['ETag'] },
    refuses: [404, 409, 412],
    handle: ({ params, query, body }, call) =>
      call.write(async (work) => {
        const role = await lockRole(work.tx, params.name);
        call.refuseOtherVersion(role.version);
        const changed = await updateRole(work, role, body);
        await refuseUnwantedOpening(call, work.tx, { role, remaining: changed.resources, query });
        if (accessBeyond(changed.resources, role.resources).length > 0) {
          await requireRightsOfRole(call, work.tx, role.name);
          await endPreparedAccessOfRole(call, work, { before: role, after: changed });
        }
        return { status: 200, headers: { ETag: entityTag(changed.version) }, body: roleView(changed) };
      }),
  }),
  adminRoute({
    method: 'DELETE',
    path: '/roles/{name}',
    scope: 'roles:write',
    tag: 'roles',
    summary: 'Delete a role that no group holds',
    params: RoleParams,
    query: OpenQuery,
    reply: { status: 204, description: 'The role is deleted.' },
    refuses: [404, 409, 412],
    handle: ({ params, query }, call) =>
      call.write(async (work) => {
        const role = await lockRole(work.tx, params.name);
        call.refuseOtherVersion(role.version);
        await deleteRole(work, role);
        await refuseUnwantedOpening(call, work.tx, { role, remaining: [], query });
        return NO_CONTENT;
      }),
  }),
];

async function refuseUnwantedOpening(
  { dependencies }: AdminCall,
  tx: Parameters<typeof refuseToOpen>[0],
  { role, remaining, query }: { role: Role; remaining: Role['resources']; query: OpenQuery },
): Promise<void> {
  if (query.open_scopes === 'true') return;
  await refuseToOpen(tx, role, remaining, adminResourceIdentifier(dependencies.issuer));
}

async function list(call: AdminCall, { limit, cursor }: z.output<typeof ListQuery>) {
  const roles: List = { name: 'roles' };
  const after = await call.openCursor<{ readonly name: string }>(roles, cursor);
  const rows = await readRoles(call.dependencies.database, { limit: limit + 1, after: after?.name });
  return call.page(roles, { rows, limit, position: ({ name }) => ({ name }), view: roleView });
}

function roleView({ name, description, resources, createdAt, updatedAt }: Role): z.output<typeof RoleView> {
  return {
    name,
    description,
    resources: [...resources],
    created_at: timestamp(createdAt),
    updated_at: timestamp(updatedAt),
  };
}
