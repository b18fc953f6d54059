/** The members of groups: adds and removes accounts, and lists members of a group and groups of an account. */
import { lockAccount } from '../accounts/account.ts';
import type { UnitOfWork } from '../audit/unit_of_work.ts';
import { conflict, notFound } from '../base/refusal.ts';
import type { Reader } from '../db/connection.ts';
import type { Group } from './group.ts';
import { about, groups, toGroup } from './group_store.ts';

/** Each read of a person's token reads the groups of the account too. */
const GROUPS_OF_ACCOUNT_AT_MOST = 1_000;

export interface Member {
  readonly accountId: string;
  readonly email: string;
  readonly name: string | null;
  readonly addedAt: Date;
}

export interface GroupOfAccount extends Group {
  readonly addedAt: Date;
}

/** Adds an account to a locked group, by the hand of an admin. Throws `not_found` without the account. */
export async function addMember(work: UnitOfWork, group: Group, accountId: string): Promise<Member> {
  const { tx, trail, origin, now } = work;
  // the lock also makes two transactions count the groups of the account one after the other
  const { email, name } = await lockAccount(tx, accountId);
  const { count } = await tx
    .selectFrom('group_members')
    .select((row) => row.fn.countAll<number>().as('count'))
    .where('account_id', '=', accountId)
    .executeTakeFirstOrThrow();
  if (count >= GROUPS_OF_ACCOUNT_AT_MOST)
    throw conflict(`${accountId} is in ${GROUPS_OF_ACCOUNT_AT_MOST} groups, which is the most.`);
  const row = await tx
    .insertInto('group_members')
    .values({ account_id: accountId, group_id: group.groupId, by_hand: true, added_at: now })
    .onConflict((clash) => clash.doNothing())
    .returning('added_at')
    .executeTakeFirst();
  if (!row) throw conflict(`${accountId} is already a member of the group.`);
  await trail.recordIn(tx, origin, {
    event: 'group.member_added',
    outcome: 'success',
    accountId,
    details: about(group),
  });
  return { accountId, email, name, addedAt: row.added_at };
}

/** Removes an account from a locked group. Throws `not_found` if it is no member. */
export async function removeMember({ tx, trail, origin }: UnitOfWork, group: Group, accountId: string): Promise<void> {
  const { numDeletedRows } = await tx
    .deleteFrom('group_members')
    .where('account_id', '=', accountId)
    .where('group_id', '=', group.groupId)
    .executeTakeFirst();
  if (numDeletedRows === 0n) throw notFound('The group has no member with this account id.');
  await trail.recordIn(tx, origin, {
    event: 'group.member_removed',
    outcome: 'success',
    accountId,
    details: about(group),
  });
}

export interface MemberPage {
  readonly limit: number;
  readonly after?: { readonly addedAt: Date; readonly accountId: string } | undefined;
}

/** Returns a page of the members of a group, in the order in which they were added. */
export async function readMembers(reader: Reader, groupId: string, { limit, after }: MemberPage): Promise<Member[]> {
  let rows = reader
    .selectFrom('group_members')
    .innerJoin('accounts', 'accounts.account_id', 'group_members.account_id')
    .select(['group_members.account_id', 'email', 'name', 'added_at'])
    .where('group_id', '=', groupId)
    .orderBy('added_at')
    .orderBy('group_members.account_id')
    .limit(limit);
  if (after) {
    rows = rows.where((row) =>
      row(row.refTuple('added_at', 'group_members.account_id'), '>', row.tuple(after.addedAt, after.accountId)),
    );
  }
  const found = await rows.execute();
  return found.map(({ account_id, email, name, added_at }) => ({
    accountId: account_id,
    email,
    name,
    addedAt: added_at,
  }));
}

export interface GroupsOfAccountPage {
  readonly limit: number;
  /** The last name of the previous page. */
  readonly after?: string | undefined;
}

/** Returns a page of the groups of an account, ordered by name. */
export async function readGroupsOf(
  reader: Reader,
  accountId: string,
  { limit, after }: GroupsOfAccountPage,
): Promise<GroupOfAccount[]> {
  let rows = groups(reader)
    .innerJoin('group_members', 'group_members.group_id', 'groups.group_id')
    .select('group_members.added_at')
    .where('group_members.account_id', '=', accountId)
    .orderBy('groups.name')
    .limit(limit);
  if (after !== undefined) rows = rows.where('groups.name', '>', after);
  return (await rows.execute()).map((row) => ({ ...toGroup(row), addedAt: row.added_at }));
}
