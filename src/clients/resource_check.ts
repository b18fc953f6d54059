/** Checks that the resources and scopes that a client or policy gets exist. */
import { invalid } from '../base/refusal.ts';
import type { Tx } from '../db/connection.ts';
import type { ResourceAccess } from './metadata/access.ts';

/**
 * Throws `Refused` unless all exist. Locks the resources against changes, so that no scope disappears before the
 * commit.
 */
export async function refuseUnknownResources(
  tx: Tx,
  resources: readonly ResourceAccess[],
  introspects: readonly string[] = [],
): Promise<void> {
  const names = [...resources.map((access) => access.resource), ...introspects];
  if (names.length === 0) return;
  const rows = await tx
    .selectFrom('resources')
    .select(['identifier', 'scopes'])
    .where('identifier', 'in', names)
    .forShare()
    .execute();
  const known = new Map(rows.map((row) => [row.identifier, new Set(row.scopes.map((scope) => scope.name))]));
  resources.forEach(({ resource, scopes }, index) => {
    const existing = known.get(resource);
    if (!existing) throw invalid(`/resources/${index}/resource`, 'names a resource that is not registered');
    const unknown = scopes.filter((scope) => !existing.has(scope));
    if (unknown.length > 0)
      throw invalid(`/resources/${index}/scopes`, `names scopes that ${resource} does not have: ${unknown.join(' ')}`);
  });
  introspects.forEach((resource, index) => {
    if (!known.has(resource)) throw invalid(`/introspects/${index}`, 'names a resource that is not registered');
  });
}
