/**
 * A scope that is in a role is for people with the role; after the last role has lost it, it is for every person. These
 * functions prevent that this happens by accident.
 */
import { sql } from 'kysely';
import type { UnitOfWork } from '../audit/unit_of_work.ts';
import { conflict } from '../base/refusal.ts';
import { accessBeyond, type ResourceAccess } from '../clients/metadata/access.ts';
import type { Tx } from '../db/connection.ts';
import type { Role } from './role.ts';
import { readNamed, updateRole } from './role_store.ts';

/** A message names at most this many objects. */
const NAMED_AT_MOST = 3;

/**
 * Refuses a change after which some scopes of the role are in no role at all: they would be for every person. The scopes of
 * `alwaysTied` are for people with a role in any case.
 */
export async function refuseToOpen(
  tx: Tx,
  role: Role,
  remaining: readonly ResourceAccess[],
  alwaysTied: string,
): Promise<void> {
  const lost = accessBeyond(role.resources, remaining).filter(({ resource }) => resource !== alwaysTied);
  if (lost.length === 0) return;
  // of two roles that lose a scope at the same time, the second one learns that the first has lost it
  await sql`select pg_advisory_xact_lock(hashtext('gatehouse.opened_scopes'))`.execute(tx);
  const others = await tx
    .selectFrom('role_resources')
    .select(['resource', 'scopes'])
    .where('role', '!=', role.name)
    .where(
      'resource',
      'in',
      lost.map(({ resource }) => resource),
    )
    .execute();
  const opened = lost.flatMap(({ resource, scopes }) => {
    const tied = new Set(others.filter((other) => other.resource === resource).flatMap((other) => other.scopes));
    const open = scopes.filter((scope) => !tied.has(scope));
    return open.length > 0 ? [`${open.join(' ')} of ${resource}`] : [];
  });
  if (opened.length === 0) return;
  throw conflict(
    `After this change no role has ${opened.slice(0, NAMED_AT_MOST).join(', ')}: everybody could get it. Add it to another role first, or send open_scopes=true.`,
  );
}

/**
 * Takes scopes of a resource from all roles. Throws `conflict` if a role has no other scope. Locks the roles; call it before
 * the resource is locked, as a change of a role does.
 */
export async function takeScopesFromRoles(
  work: UnitOfWork,
  identifier: string,
  isTaken: (scope: string) => boolean,
): Promise<readonly string[]> {
  const { tx } = work;
  const holders = await tx
    .selectFrom('roles')
    .select('name')
    .where('name', 'in', (access) =>
      access.selectFrom('role_resources').select('role').where('resource', '=', identifier),
    )
    .orderBy('name')
    .forUpdate()
    .execute();
  const roles = await readNamed(
    tx,
    holders.map(({ name }) => name),
  );
  const changes = roles
    .map((role) => ({ role, resources: accessBeyond(role.resources, takenFrom(role, identifier, isTaken)) }))
    .filter(({ role, resources }) => accessBeyond(role.resources, resources).length > 0);
  const emptied = changes.filter(({ resources }) => resources.length === 0).map(({ role }) => role.name);
  if (emptied.length > 0)
    throw conflict(
      `Roles would be left without a scope (${emptied.slice(0, NAMED_AT_MOST).join(', ')}); delete them first, or give them another scope.`,
    );
  for (const { role, resources } of changes) await updateRole(work, role, { resources });
  return changes.map(({ role }) => role.name);
}

function takenFrom({ resources }: Role, identifier: string, isTaken: (scope: string) => boolean): ResourceAccess[] {
  return resources
    .filter(({ resource }) => resource === identifier)
    .map(({ resource, scopes }) => ({ resource, scopes: scopes.filter(isTaken) }));
}
