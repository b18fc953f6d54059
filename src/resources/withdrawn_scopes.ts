/**
 * Removes scopes that a resource no longer has from clients and policies, and orders the end of all rights for them. Refuses
 * to remove a scope that a role has: a later scope of the same name would be for every person.
 */
import { sql } from 'kysely';
import { recordChange } from '../invalidation/log.ts';
import type { Tx } from '../db/connection.ts';
import { orderEndOfRights } from './ended_rights.ts';
import { refuseWhileRolesHave } from './references.ts';
import type { Resource, Scope } from './resource.ts';

/** Tables whose rows contain a resource and some of its scopes. */
const SCOPE_TABLES = [
  { table: 'registration_policy_resources', owner: 'policy', topic: 'registration_policy' },
  { table: 'client_resources', owner: 'client_id', topic: 'client' },
] as const;

/**
 * Removes the scopes that are not in `remaining` from every client and policy, and deletes rows without scopes. What people
 * granted is ended in batches (ended_rights.ts). Throws `conflict` while a role has one of the scopes.
 */
export async function withdrawScopes(
  tx: Tx,
  resource: Resource,
  remaining: readonly Scope[],
  now: Date,
): Promise<void> {
  const names = new Set(remaining.map((scope) => scope.name));
  const removed = resource.scopes.map((scope) => scope.name).filter((name) => !names.has(name));
  if (removed.length === 0) return;
  await refuseWhileRolesHave(tx, resource.identifier, removed);
  for (const { table, owner, topic } of SCOPE_TABLES) {
    for (const key of await withdraw(tx, { table, owner }, resource.identifier, removed)) {
      await recordChange(tx, { topic, key }, now);
    }
  }
  await withdrawFromGrantPolicies(tx, resource.identifier, removed);
  await orderEndOfRights(tx, resource.identifier, removed, now);
}

/** Returns the clients or policies that had any of the scopes. */
async function withdraw(
  tx: Tx,
  { table, owner }: Pick<(typeof SCOPE_TABLES)[number], 'table' | 'owner'>,
  identifier: string,
  removed: readonly string[],
): Promise<string[]> {
  const emptied = await sql<{ owner: string }>`
    delete from ${sql.table(table)}
    where resource = ${identifier} and scopes <@ ${removed}::text[]
    returning ${sql.ref(owner)} as owner`.execute(tx);
  const narrowed = await sql<{ owner: string }>`
    update ${sql.table(table)}
    set scopes = array(
      select scope from unnest(scopes) with ordinality as held (scope, place)
      where scope <> all(${removed}::text[]) order by place
    )
    where resource = ${identifier} and scopes && ${removed}::text[]
    returning ${sql.ref(owner)} as owner`.execute(tx);
  return [...emptied.rows, ...narrowed.rows].map((row) => row.owner);
}

/** Needs no invalidation, because nodes read these policies at each request. */
async function withdrawFromGrantPolicies(tx: Tx, identifier: string, removed: readonly string[]): Promise<void> {
  await sql`
    delete from grant_policy_scopes as rule using grant_policies as policy
    where rule.policy_id = policy.policy_id
      and (policy.resource = ${identifier} and rule.scope = any(${removed}::text[])
        or policy.subject_resource = ${identifier} and rule.from_scope = any(${removed}::text[]))`.execute(tx);
}
