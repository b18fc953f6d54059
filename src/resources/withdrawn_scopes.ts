/** What becomes of scopes that a resource no longer has: nobody keeps them. */
import { sql } from 'kysely';
import { recordChange } from '../invalidation/log.ts';
import type { Tx } from '../db/connection.ts';
import type { Resource, Scope } from './resource.ts';

/** Whose rows have a resource with some of its scopes. */
const HOLDERS = [
  { table: 'registration_policy_resources', holder: 'policy', topic: 'registration_policy' },
  { table: 'client_resources', holder: 'client_id', topic: 'client' },
] as const;

/** Takes what the resource had, and has no longer, from every client and policy; nothing is left of an empty one. */
export async function withdrawScopes(
  tx: Tx,
  resource: Resource,
  remaining: readonly Scope[],
  now: Date,
): Promise<void> {
  const names = new Set(remaining.map((scope) => scope.name));
  const gone = resource.scopes.map((scope) => scope.name).filter((name) => !names.has(name));
  if (gone.length === 0) return;
  for (const { table, holder, topic } of HOLDERS) {
    for (const key of await withdraw(tx, { table, holder }, resource.identifier, gone)) {
      await recordChange(tx, { topic, key }, now);
    }
  }
  await withdrawFromGrantPolicies(tx, resource.identifier, gone);
}

/** Answers who had any of them. */
async function withdraw(
  tx: Tx,
  { table, holder }: Pick<(typeof HOLDERS)[number], 'table' | 'holder'>,
  identifier: string,
  gone: readonly string[],
): Promise<string[]> {
  const emptied = await sql<{ holder: string }>`
    delete from ${sql.table(table)}
    where resource = ${identifier} and scopes <@ ${gone}::text[]
    returning ${sql.ref(holder)} as holder`.execute(tx);
  const narrowed = await sql<{ holder: string }>`
    update ${sql.table(table)}
    set scopes = array(
      select scope from unnest(scopes) with ordinality as held (scope, place)
      where scope <> all(${gone}::text[]) order by place
    )
    where resource = ${identifier} and scopes && ${gone}::text[]
    returning ${sql.ref(holder)} as holder`.execute(tx);
  return [...emptied.rows, ...narrowed.rows].map((row) => row.holder);
}

/** Read anew at every request, so no node has to hear of it. */
async function withdrawFromGrantPolicies(tx: Tx, identifier: string, gone: readonly string[]): Promise<void> {
  await sql`
    delete from grant_policy_scopes as rule using grant_policies as policy
    where rule.policy_id = policy.policy_id
      and (policy.resource = ${identifier} and rule.scope = any(${gone}::text[])
        or policy.subject_resource = ${identifier} and rule.from_scope = any(${gone}::text[]))`.execute(tx);
}
