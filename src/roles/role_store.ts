/** Creates, changes, deletes and reads roles. Functions that write run in the caller's transaction. */
import type { z } from 'zod';
import { changedValues } from '../audit/changed_values.ts';
import type { UnitOfWork } from '../audit/unit_of_work.ts';
import { conflict, notFound } from '../base/refusal.ts';
import type { ResourceAccess } from '../clients/metadata/access.ts';
import { requireResources } from '../clients/resource_check.ts';
import type { Reader, Tx } from '../db/connection.ts';
import { recordChange } from '../invalidation/log.ts';
import type { NewRole, Role, RolePatch } from './role.ts';

/** Each node keeps all roles in memory. */
const ROLES_AT_MOST = 1_000;
/** A message names at most this many objects. */
const NAMED_AT_MOST = 3;

export async function createRole(work: UnitOfWork, given: z.output<typeof NewRole>): Promise<Role> {
  const { tx, now } = work;
  const { name, description } = given;
  const { resources } = await requireResources(tx, given);
  await refuseTooMany(tx);
  const row = await tx
    .insertInto('roles')
    .values({ name, description, created_at: now, updated_at: now })
    .onConflict((clash) => clash.doNothing())
    .returning('name')
    .executeTakeFirst();
  if (!row) throw conflict(`Role ${name} already exists.`);
  await storeResources(tx, name, resources);
  const details = { role: name, resources: inText(resources) };
  await work.trail.recordIn(tx, work.origin, { event: 'role.created', outcome: 'success', details });
  await recordChange(tx, { topic: 'role', key: name }, now);
  return existing(tx, name);
}

/** Changes a locked role. */
export async function updateRole(work: UnitOfWork, role: Role, given: z.output<typeof RolePatch>): Promise<Role> {
  const { tx, now } = work;
  const { name } = role;
  const access = given.resources && (await requireResources(tx, { resources: given.resources })).resources;
  await tx
    .updateTable('roles')
    .set({ description: given.description ?? role.description, version: role.version + 1, updated_at: now })
    .where('name', '=', name)
    .execute();
  if (access) {
    await tx.deleteFrom('role_resources').where('role', '=', name).execute();
    await storeResources(tx, name, access);
  }
  const after = await existing(tx, name);
  const details = {
    role: name,
    members: Object.keys(given),
    ...changedValues(['description', 'resources'], role, after),
    resources: inText(after.resources),
  };
  await work.trail.recordIn(tx, work.origin, { event: 'role.updated', outcome: 'success', details });
  await recordChange(tx, { topic: 'role', key: name }, now);
  return after;
}

/** Deletes a locked role. Throws `conflict` while a group holds it. */
export async function deleteRole({ tx, trail, origin, now }: UnitOfWork, { name, resources }: Role): Promise<void> {
  const holders = await tx
    .selectFrom('group_roles')
    .innerJoin('groups', 'groups.group_id', 'group_roles.group_id')
    .select('groups.name')
    .where('role', '=', name)
    .orderBy('groups.name')
    .limit(NAMED_AT_MOST)
    .execute();
  if (holders.length > 0) {
    const names = holders.map((group) => group.name).join(', ');
    throw conflict(`Groups still hold the role ${name} (${names}); take it from them first.`);
  }
  await tx.deleteFrom('roles').where('name', '=', name).execute();
  const details = { role: name, resources: inText(resources) };
  await trail.recordIn(tx, origin, { event: 'role.deleted', outcome: 'success', details });
  await recordChange(tx, { topic: 'role', key: name }, now);
}

/** Returns the role, locked against other changes until the transaction ends. */
export async function lockRole(tx: Tx, name: string): Promise<Role> {
  const locked = await tx.selectFrom('roles').select('name').where('name', '=', name).forUpdate().executeTakeFirst();
  if (!locked) throw notFound(`Role ${name} not found.`);
  return existing(tx, name);
}

export async function findRole(reader: Reader, name: string): Promise<Role | undefined> {
  return (await readNamed(reader, [name]))[0];
}

export interface RolePage {
  readonly limit: number;
  /** The last name of the previous page. */
  readonly after?: string | undefined;
}

/** Returns a page of roles, ordered by name. */
export async function readRoles(reader: Reader, { limit, after }: RolePage): Promise<Role[]> {
  let names = reader.selectFrom('roles').select('name').orderBy('name').limit(limit);
  if (after !== undefined) names = names.where('name', '>', after);
  return readNamed(
    reader,
    (await names.execute()).map(({ name }) => name),
  );
}

/** Returns the roles with these names that exist, ordered by name. */
export async function readNamed(reader: Reader, names: readonly string[]): Promise<Role[]> {
  if (names.length === 0) return [];
  const rows = await reader.selectFrom('roles').selectAll().where('name', 'in', names).orderBy('name').execute();
  const access = await reader
    .selectFrom('role_resources')
    .selectAll()
    .where('role', 'in', names)
    .orderBy('resource')
    .execute();
  return rows.map(({ name, description, version, created_at, updated_at }) => ({
    name,
    description,
    resources: access.filter(({ role }) => role === name).map(({ resource, scopes }) => ({ resource, scopes })),
    version,
    createdAt: created_at,
    updatedAt: updated_at,
  }));
}

async function existing(tx: Tx, name: string): Promise<Role> {
  const role = await findRole(tx, name);
  if (!role) throw new Error('A locked role was deleted.');
  return role;
}

async function storeResources(tx: Tx, role: string, resources: readonly ResourceAccess[]): Promise<void> {
  await tx
    .insertInto('role_resources')
    .values(resources.map((access) => ({ role, ...access })))
    .execute();
}

async function refuseTooMany(tx: Tx): Promise<void> {
  const { count } = await tx
    .selectFrom('roles')
    .select((row) => row.fn.countAll<number>().as('count'))
    .executeTakeFirstOrThrow();
  if (count >= ROLES_AT_MOST) throw conflict(`There are ${ROLES_AT_MOST} roles, which is the most; delete one first.`);
}

function inText(resources: readonly ResourceAccess[]): string[] {
  return resources.map(({ resource, scopes }) => `${resource} ${scopes.join(' ')}`);
}
