/** Creates, changes, deletes and reads groups. Functions that write run in the caller's transaction. */
import { sql } from 'kysely';
import type { z } from 'zod';
import { changedValues } from '../audit/changed_values.ts';
import type { UnitOfWork } from '../audit/unit_of_work.ts';
import { randomId } from '../base/ids.ts';
import { conflict, invalid, notFound } from '../base/refusal.ts';
import type { Reader, Tx } from '../db/connection.ts';
import { recordChange } from '../invalidation/log.ts';
import type { Group, GroupPatch, NewGroup } from './group.ts';

/** Each node keeps all groups in memory, without their members. */
const GROUPS_AT_MOST = 10_000;

export async function createGroup(work: UnitOfWork, given: z.output<typeof NewGroup>): Promise<Group> {
  const { tx, now } = work;
  const { roles, ...values } = given;
  await refuseTooMany(tx);
  const row = await tx
    .insertInto('groups')
    .values({ group_id: randomId('group'), ...values, created_at: now, updated_at: now })
    .onConflict((clash) => clash.doNothing())
    .returning('group_id')
    .executeTakeFirst();
  if (!row) throw nameTaken(given.name);
  await storeRoles(tx, row.group_id, roles);
  const group = await existing(tx, row.group_id);
  await work.trail.recordIn(tx, work.origin, { event: 'group.created', outcome: 'success', details: about(group) });
  await recordChange(tx, { topic: 'role', key: group.groupId }, now);
  return group;
}

/** Changes a locked group. */
export async function updateGroup(work: UnitOfWork, group: Group, given: z.output<typeof GroupPatch>): Promise<Group> {
  const { tx, now } = work;
  const { roles, ...values } = given;
  const { groupId } = group;
  if (values.name !== undefined && values.name !== group.name) {
    const taken = await tx.selectFrom('groups').select('name').where('name', '=', values.name).executeTakeFirst();
    if (taken) throw nameTaken(values.name);
  }
  await tx
    .updateTable('groups')
    .set({ ...values, version: group.version + 1, updated_at: now })
    .where('group_id', '=', groupId)
    .execute()
    .catch((error: unknown) => {
      // another transaction may have stored the name after the check above
      throw error instanceof Error && 'code' in error && error.code === '23505' ? nameTaken(values.name ?? '') : error;
    });
  if (roles) {
    await tx.deleteFrom('group_roles').where('group_id', '=', groupId).execute();
    await storeRoles(tx, groupId, roles);
  }
  const after = await existing(tx, groupId);
  const details = {
    ...about(after),
    members: Object.keys(given),
    ...changedValues(['name', 'description', 'roles', 'required_acr'], recorded(group), recorded(after)),
  };
  await work.trail.recordIn(tx, work.origin, { event: 'group.updated', outcome: 'success', details });
  await recordChange(tx, { topic: 'role', key: groupId }, now);
  return after;
}

/** Deletes a locked group with its memberships. Throws `conflict` while a client names it in `allowed_groups`. */
export async function deleteGroup({ tx, trail, origin, now }: UnitOfWork, group: Group): Promise<void> {
  const { rows } = await sql<{ client_id: string }>`
    select client_id from clients where metadata->'allowed_groups' ? ${group.groupId}
    order by client_id limit 3`.execute(tx);
  if (rows.length > 0) {
    const clients = rows.map(({ client_id }) => client_id).join(', ');
    throw conflict(`Clients still name the group in allowed_groups (${clients}); remove it from them first.`);
  }
  await tx.deleteFrom('groups').where('group_id', '=', group.groupId).execute();
  await trail.recordIn(tx, origin, { event: 'group.deleted', outcome: 'success', details: about(group) });
  await recordChange(tx, { topic: 'role', key: group.groupId }, now);
}

/** Returns the group, locked against other changes until the transaction ends. */
export async function lockGroup(tx: Tx, groupId: string): Promise<Group> {
  const locked = await tx
    .selectFrom('groups')
    .select('group_id')
    .where('group_id', '=', groupId)
    .forUpdate()
    .executeTakeFirst();
  if (!locked) throw notFound(`Group ${groupId} not found.`);
  return existing(tx, groupId);
}

export async function findGroup(reader: Reader, groupId: string): Promise<Group | undefined> {
  const row = await groups(reader).where('groups.group_id', '=', groupId).executeTakeFirst();
  return row && toGroup(row);
}

export interface GroupPage {
  readonly limit: number;
  /** The last name of the previous page. */
  readonly after?: string | undefined;
  /** Part of the name; case does not matter. */
  readonly search?: string | undefined;
  /** Only groups that hold this role. */
  readonly role?: string | undefined;
}

/** Returns a page of groups, ordered by name. */
export async function readGroups(reader: Reader, { limit, after, search, role }: GroupPage): Promise<Group[]> {
  let rows = groups(reader).orderBy('groups.name').limit(limit);
  if (after !== undefined) rows = rows.where('groups.name', '>', after);
  if (search !== undefined) {
    rows = rows.where('groups.name', 'ilike', `%${search.replaceAll(/[\\%_]/g, (character) => `\\${character}`)}%`);
  }
  if (role !== undefined) {
    rows = rows.where('groups.group_id', 'in', (holders) =>
      holders.selectFrom('group_roles').select('group_id').where('role', '=', role),
    );
  }
  return (await rows.execute()).map(toGroup);
}

/** A query for groups with their roles. */
export function groups(reader: Reader) {
  return reader
    .selectFrom('groups')
    .selectAll('groups')
    .select(
      sql<string[]>`array(select role from group_roles where group_roles.group_id = groups.group_id order by role)`.as(
        'roles',
      ),
    );
}

type Row = Awaited<ReturnType<ReturnType<typeof groups>['executeTakeFirstOrThrow']>>;

export function toGroup({ group_id, required_acr, version, created_at, updated_at, ...others }: Row): Group {
  const { name, description, roles } = others;
  return {
    groupId: group_id,
    name,
    description,
    roles,
    requiredAcr: required_acr,
    version,
    createdAt: created_at,
    updatedAt: updated_at,
  };
}

/** What audit events say of a group. */
export function about({ groupId, name, roles, requiredAcr }: Group) {
  return { group_id: groupId, name, roles, ...(requiredAcr !== null && { required_acr: requiredAcr }) };
}

/** The members whose values an event has before and after a change, by the names of the admin API. */
function recorded({ name, description, roles, requiredAcr }: Group) {
  return { name, description, roles, required_acr: requiredAcr };
}

async function existing(tx: Tx, groupId: string): Promise<Group> {
  const group = await findGroup(tx, groupId);
  if (!group) throw new Error('A locked group was deleted.');
  return group;
}

/** Locks the roles, so that none is deleted before the commit. */
async function storeRoles(tx: Tx, groupId: string, roles: readonly string[]): Promise<void> {
  if (roles.length === 0) return;
  const found = await tx
    .selectFrom('roles')
    .select('name')
    .where('name', 'in', roles)
    .orderBy('name')
    .forKeyShare()
    .execute();
  const known = new Set(found.map(({ name }) => name));
  const index = roles.findIndex((role) => !known.has(role));
  if (index >= 0) throw invalid(`/roles/${index}`, 'names a role that does not exist');
  await tx
    .insertInto('group_roles')
    .values(roles.map((role) => ({ group_id: groupId, role })))
    .execute();
}

async function refuseTooMany(tx: Tx): Promise<void> {
  const { count } = await tx
    .selectFrom('groups')
    .select((row) => row.fn.countAll<number>().as('count'))
    .executeTakeFirstOrThrow();
  if (count >= GROUPS_AT_MOST)
    throw conflict(`There are ${GROUPS_AT_MOST} groups, which is the most; delete one first.`);
}

function nameTaken(name: string): Error {
  return conflict(`A group with the name ${name} already exists.`);
}
