/** Which scopes of one resource people have through their roles, read from the database. */
import { sql, type RawBuilder } from 'kysely';
import type { Reader, Tx } from '../db/connection.ts';

/** Only memberships that an admin has set by hand count. */
function scopesOfPeople(resource: string, people: RawBuilder<unknown>): RawBuilder<unknown> {
  return sql`
    select unnest(role_resources.scopes) as scope
    from group_members
    join group_roles on group_roles.group_id = group_members.group_id
    join role_resources on role_resources.role = group_roles.role
    where group_members.by_hand and role_resources.resource = ${resource} and group_members.account_id in (${people})`;
}

/** The scopes that the account has. */
export function scopesOfAccount(reader: Reader, resource: string, accountId: string): Promise<string[]> {
  return distinct(reader, scopesOfPeople(resource, sql`select ${accountId}::text`));
}

/**
 * The scopes that the account has, and nobody else whose account is enabled. The transaction waits for others that have
 * asked this, so that of two people who leave at the same time the second one learns that the first has left.
 */
export async function soleScopesOfAccount(tx: Tx, resource: string, accountId: string): Promise<string[]> {
  if ((await scopesOfAccount(tx, resource, accountId)).length === 0) return [];
  await sql`select pg_advisory_xact_lock(hashtext('gatehouse.sole_scopes'))`.execute(tx);
  const own = scopesOfPeople(resource, sql`select ${accountId}::text`);
  const others = sql`select account_id from accounts where disabled_at is null and account_id <> ${accountId}`;
  return distinct(tx, sql`${own} except ${scopesOfPeople(resource, others)}`);
}

/** The scopes of the group's roles, and all scopes that its members have. */
export function scopesOfGroup(reader: Reader, resource: string, groupId: string): Promise<string[]> {
  const roles = sql`
    select unnest(role_resources.scopes) as scope
    from group_roles join role_resources on role_resources.role = group_roles.role
    where group_roles.group_id = ${groupId} and role_resources.resource = ${resource}`;
  const members = sql`select account_id from group_members as member where member.group_id = ${groupId}`;
  return distinct(reader, sql`${roles} union ${scopesOfPeople(resource, members)}`);
}

/** The scopes of the role, and all scopes that the people with this role have. */
export function scopesOfRole(reader: Reader, resource: string, role: string): Promise<string[]> {
  const own = sql`select unnest(scopes) as scope from role_resources where role = ${role} and resource = ${resource}`;
  const holders = sql`
    select account_id from group_members as member
    join group_roles as held on held.group_id = member.group_id where held.role = ${role}`;
  return distinct(reader, sql`${own} union ${scopesOfPeople(resource, holders)}`);
}

async function distinct(reader: Reader, scopes: RawBuilder<unknown>): Promise<string[]> {
  const { rows } = await sql<{ scope: string }>`select distinct scope from (${scopes}) as held order by scope`.execute(
    reader,
  );
  return rows.map(({ scope }) => scope);
}
