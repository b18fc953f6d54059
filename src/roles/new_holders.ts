/** Which people get scopes of a resource through a change of groups or roles. */
import { sql, type RawBuilder } from 'kysely';
import { conflict } from '../base/refusal.ts';
import type { Tx } from '../db/connection.ts';

/** One transaction locks their accounts. */
const PEOPLE_AT_MOST = 10_000;

/**
 * Whether one of the roles has scopes of the resource. Locks the roles, so that none gets such a scope before the commit:
 * the change of the role would not see the new holder.
 */
export async function lockIfRolesGive(tx: Tx, roles: readonly string[], resource: string): Promise<boolean> {
  if (roles.length === 0) return false;
  await tx.selectFrom('roles').select('name').where('name', 'in', roles).orderBy('name').forKeyShare().execute();
  const giving = await tx
    .selectFrom('role_resources')
    .select('role')
    .where('role', 'in', roles)
    .where('resource', '=', resource)
    .limit(1)
    .execute();
  return giving.length > 0;
}

/** Locks the accounts of the group's members and returns their ids. The caller has locked the group. */
export function lockPeopleOfGroup(tx: Tx, groupId: string): Promise<string[]> {
  return lockPeople(
    tx,
    sql`select account_id from group_members as member where member.by_hand and group_id = ${groupId}`,
  );
}

/** Locks the accounts of the people who hold the role and returns their ids. The caller has locked the role. */
export function lockPeopleWithRole(tx: Tx, role: string): Promise<string[]> {
  return lockPeople(
    tx,
    sql`select account_id from group_members as member join group_roles as held on held.group_id = member.group_id
      where member.by_hand and held.role = ${role}`,
  );
}

async function lockPeople(tx: Tx, people: RawBuilder<unknown>): Promise<string[]> {
  const { rows } = await sql<{ account_id: string }>`
    select account_id from accounts where account_id in (${people})
    order by account_id limit ${PEOPLE_AT_MOST + 1} for no key update`.execute(tx);
  if (rows.length > PEOPLE_AT_MOST)
    throw conflict(
      `More than ${PEOPLE_AT_MOST} people would get scopes of the admin API; give them to a group with fewer members.`,
    );
  return rows.map(({ account_id }) => account_id);
}
