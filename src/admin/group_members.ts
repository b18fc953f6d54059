/** Routes for the members of groups: list, add and remove, and list the groups of an account. */
import { z } from 'zod';
import { findAccount } from '../accounts/account.ts';
import { notFound } from '../base/refusal.ts';
import { NO_CONTENT } from '../http/route.ts';
import {
  addMember,
  readGroupsOf,
  readMembers,
  removeMember,
  type GroupOfAccount,
  type Member,
} from '../roles/group_members.ts';
import { findGroup, lockGroup } from '../roles/group_store.ts';
import { requireRightsOf } from './account_rights.ts';
import { adminRoute, type AdminCall, type AdminRoute } from './admin_call.ts';
import { pageOf, paging, type List } from './cursors.ts';
import { groupFacts, groupMembers, GroupParams } from './groups.ts';
import { endPreparedAccess, givesAdminScopes } from './prepared_access.ts';
import { adminResourceIdentifier } from './scopes.ts';
import { AccountParams, Timestamp, timestamp } from './shared_members.ts';

const MemberView = z
  .strictObject({ account_id: z.string(), email: z.string(), name: z.string().nullable(), added_at: Timestamp })
  .meta({ id: 'GroupMember' });
const GroupOfAccountView = z
  .strictObject({ ...groupMembers, added_at: Timestamp.describe('When the account became a member.') })
  .meta({ id: 'GroupOfAccount' });

const ListQuery = z.strictObject(paging);
type ListQuery = z.output<typeof ListQuery>;

export const groupMemberRoutes: readonly AdminRoute[] = [
  adminRoute({
    method: 'GET',
    path: '/groups/{group_id}/members',
    scope: 'groups:read',
    tag: 'groups',
    summary: 'List the members of a group, in the order in which they were added',
    params: GroupParams,
    query: ListQuery,
    reply: { status: 200, description: 'A page of members.', body: pageOf(MemberView) },
    refuses: [404],
    handle: ({ params, query }, call) => members(call, params.group_id, query),
  }),
  adminRoute({
    method: 'POST',
    path: '/groups/{group_id}/members',
    scope: 'groups:write',
    tag: 'groups',
    summary: 'Add an account to a group',
    description:
      'The caller needs every admin scope that the account then has. If the group has scopes of the admin API, the unused links to a password and enrolment codes of the account end: invite the person afterwards.',
    params: GroupParams,
    body: AccountParams.meta({ id: 'NewGroupMember', examples: [{ account_id: 'account_7Hq' }] }),
    reply: { status: 201, description: 'The member.', body: MemberView, headers: ['Location'] },
    refuses: [404, 409],
    handle: ({ params, body }, call) =>
      call.write(async (work) => {
        const group = await lockGroup(work.tx, params.group_id);
        const makesAdmin = await givesAdminScopes(call, work, group.roles);
        const member = await addMember(work, group, body.account_id);
        await requireRightsOf(call, work.tx, member.accountId);
        if (makesAdmin) await endPreparedAccess(work, member.accountId);
        const path = `/groups/${group.groupId}/members/${member.accountId}`;
        const location = adminResourceIdentifier(call.dependencies.issuer) + path;
        return { status: 201, headers: { Location: location }, body: memberView(member) };
      }),
  }),
  adminRoute({
    method: 'DELETE',
    path: '/groups/{group_id}/members/{account_id}',
    scope: 'groups:write',
    tag: 'groups',
    summary: 'Remove an account from a group',
    description: 'The person loses the roles of the group within a second.',
    params: GroupParams.extend(AccountParams.shape),
    reply: { status: 204, description: 'The account is no member of the group.' },
    refuses: [404],
    handle: ({ params }, call) =>
      call.write(async (work) => {
        await removeMember(work, await lockGroup(work.tx, params.group_id), params.account_id);
        return NO_CONTENT;
      }),
  }),
  adminRoute({
    method: 'GET',
    path: '/accounts/{account_id}/groups',
    scope: 'groups:read',
    tag: 'groups',
    summary: 'List the groups of an account, ordered by name',
    params: AccountParams,
    query: ListQuery,
    reply: { status: 200, description: 'A page of groups.', body: pageOf(GroupOfAccountView) },
    refuses: [404],
    handle: ({ params, query }, call) => groupsOf(call, params.account_id, query),
  }),
];

type MemberPosition = { readonly added_at: string; readonly account_id: string };

async function members(call: AdminCall, groupId: string, { limit, cursor }: ListQuery) {
  const { database } = call.dependencies;
  const its: List = { name: 'group_members', filters: { group_id: groupId } };
  const after = await call.openCursor<MemberPosition>(its, cursor);
  if (!(await findGroup(database, groupId))) throw notFound(`Group ${groupId} not found.`);
  const rows = await readMembers(database, groupId, {
    limit: limit + 1,
    after: after && { addedAt: new Date(after.added_at), accountId: after.account_id },
  });
  const position = ({ addedAt, accountId }: Member): MemberPosition => ({
    added_at: addedAt.toISOString(),
    account_id: accountId,
  });
  return call.page(its, { rows, limit, position, view: memberView });
}

async function groupsOf(call: AdminCall, accountId: string, { limit, cursor }: ListQuery) {
  const { database } = call.dependencies;
  const its: List = { name: 'groups_of_account', filters: { account_id: accountId } };
  const after = await call.openCursor<{ readonly name: string }>(its, cursor);
  if (!(await findAccount(database, accountId))) throw notFound(`Account ${accountId} not found.`);
  const rows = await readGroupsOf(database, accountId, { limit: limit + 1, after: after?.name });
  const view = (group: GroupOfAccount) => ({ ...groupFacts(group), added_at: timestamp(group.addedAt) });
  return call.page(its, { rows, limit, position: ({ name }) => ({ name }), view });
}

function memberView({ accountId, email, name, addedAt }: Member): z.output<typeof MemberView> {
  return { account_id: accountId, email, name, added_at: timestamp(addedAt) };
}
