/** Routes for groups: create, list, show, change and delete. */
import { z } from 'zod';
import { REQUIRABLE_ACRS } from '../base/acr_values.ts';
import { notFound } from '../base/refusal.ts';
import { NO_CONTENT } from '../http/route.ts';
import { GroupPatch, NewGroup, type Group } from '../roles/group.ts';
import { createGroup, deleteGroup, findGroup, lockGroup, readGroups, updateGroup } from '../roles/group_store.ts';
import { roleName } from '../roles/role.ts';
import { requireRightsOfGroup } from './account_rights.ts';
import { adminRoute, type AdminCall, type AdminRoute } from './admin_call.ts';
import { pageOf, paging, type List } from './cursors.ts';
import { entityTag } from './entity_tag.ts';
import { endPreparedAccessOfGroup } from './prepared_access.ts';
import { adminResourceIdentifier } from './scopes.ts';
import { search, Timestamp, timestamp } from './shared_members.ts';

export const groupMembers = {
  group_id: z.string(),
  name: z.string(),
  description: z.string().nullable(),
  roles: z.array(z.string()),
  required_acr: z.enum(REQUIRABLE_ACRS).nullable(),
};
const GroupView = z
  .strictObject({ ...groupMembers, created_at: Timestamp, updated_at: Timestamp })
  .meta({ id: 'Group' });

export const GroupParams = z.strictObject({ group_id: z.string().min(1).max(512).describe('The group.') });
const ListQuery = z.strictObject({
  ...paging,
  q: search('Part of a name; case does not matter.'),
  role: roleName.optional().describe('Only groups that hold this role.'),
});

export const groupRoutes: readonly AdminRoute[] = [
  adminRoute({
    method: 'POST',
    path: '/groups',
    scope: 'groups:write',
    tag: 'groups',
    summary: 'Create a group',
    description: 'The caller can use only roles whose admin scopes its own token carries.',
    body: NewGroup.meta({ id: 'NewGroup', examples: [{ name: 'Editors', roles: ['editor'] }] }),
    reply: { status: 201, description: 'The group.', body: GroupView, headers: ['ETag', 'Location'] },
    refuses: [409],
    handle: ({ body }, call) =>
      call.write(async (work) => {
        const group = await createGroup(work, body);
        await requireRightsOfGroup(call, work.tx, group.groupId);
        const location = `${adminResourceIdentifier(call.dependencies.issuer)}/groups/${group.groupId}`;
        return {
          status: 201,
          headers: { ETag: entityTag(group.version), Location: location },
          body: groupView(group),
        };
      }),
  }),
  adminRoute({
    method: 'GET',
    path: '/groups',
    scope: 'groups:read',
    tag: 'groups',
    summary: 'List groups, ordered by name',
    query: ListQuery,
    reply: { status: 200, description: 'A page of groups.', body: pageOf(GroupView) },
    handle: ({ query }, call) => list(call, query),
  }),
  adminRoute({
    method: 'GET',
    path: '/groups/{group_id}',
    scope: 'groups:read',
    tag: 'groups',
    summary: 'Show a group',
    params: GroupParams,
    reply: { status: 200, description: 'The group.', body: GroupView, headers: ['ETag'] },
    refuses: [404],
    async handle({ params }, call) {
      const group = await findGroup(call.dependencies.database, params.group_id);
      if (!group) throw notFound(`Group ${params.group_id} not found.`);
      return call.show(entityTag(group.version), groupView(group));
    },
  }),
  adminRoute({
    method: 'PATCH',
    path: '/groups/{group_id}',
    scope: 'groups:write',
    tag: 'groups',
    summary: 'Change a group (JSON merge patch)',
    description:
      'The new list of roles replaces the old one. The change takes effect within a second. To add a role, the caller needs every admin scope of the roles and of the members of the group. If an added role has scopes of the admin API, the unused links to a password and enrolment codes of the members end.',
    params: GroupParams,
    body: GroupPatch.meta({ id: 'GroupPatch', examples: [{ roles: ['editor', 'reviewer'] }] }),
    reply: { status: 200, description: 'The group after the change.', body: GroupView, headers: ['ETag'] },
    refuses: [404, 409, 412],
    handle: ({ params, body }, call) =>
      call.write(async (work) => {
        const group = await lockGroup(work.tx, params.group_id);
        call.refuseOtherVersion(group.version);
        const changed = await updateGroup(work, group, body);
        const added = changed.roles.some((role) => !group.roles.includes(role));
        if (added) {
          await requireRightsOfGroup(call, work.tx, group.groupId);
          await endPreparedAccessOfGroup(call, work, { before: group, after: changed });
        }
        return { status: 200, headers: { ETag: entityTag(changed.version) }, body: groupView(changed) };
      }),
  }),
  adminRoute({
    method: 'DELETE',
    path: '/groups/{group_id}',
    scope: 'groups:write',
    tag: 'groups',
    summary: 'Delete a group',
    description: 'Its members lose its roles. Refused while a client names the group in allowed_groups.',
    params: GroupParams,
    reply: { status: 204, description: 'The group is deleted.' },
    refuses: [404, 409, 412],
    handle: ({ params }, call) =>
      call.write(async (work) => {
        const group = await lockGroup(work.tx, params.group_id);
        call.refuseOtherVersion(group.version);
        await deleteGroup(work, group);
        return NO_CONTENT;
      }),
  }),
];

async function list(call: AdminCall, { limit, cursor, q, role }: z.output<typeof ListQuery>) {
  const groups: List = { name: 'groups', filters: { q, role } };
  const after = await call.openCursor<{ readonly name: string }>(groups, cursor);
  const rows = await readGroups(call.dependencies.database, {
    limit: limit + 1,
    after: after?.name,
    search: q,
    role,
  });
  return call.page(groups, { rows, limit, position: ({ name }) => ({ name }), view: groupView });
}

function groupView(group: Group): z.output<typeof GroupView> {
  return {
    ...groupFacts(group),
    created_at: timestamp(group.createdAt),
    updated_at: timestamp(group.updatedAt),
  };
}

export function groupFacts({ groupId, name, description, roles, requiredAcr }: Group) {
  return { group_id: groupId, name, description, roles: [...roles], required_acr: requiredAcr };
}
