/** Whether what somebody is to be given is there to give. */
import { invalid } from '../base/refusal.ts';
import type { Tx } from '../db/connection.ts';
import type { ResourceAccess } from './metadata/access.ts';

/** Locks the resources named against change, so that no scope disappears between this check and the commit. */
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
    const its = known.get(resource);
    if (!its) throw invalid(`/resources/${index}/resource`, 'names no resource that is registered here');
    const unknown = scopes.filter((scope) => !its.has(scope));
    if (unknown.length > 0)
      throw invalid(`/resources/${index}/scopes`, `names scopes that ${resource} does not have: ${unknown.join(' ')}`);
  });
  introspects.forEach((resource, index) => {
    if (!known.has(resource)) throw invalid(`/introspects/${index}`, 'names no resource that is registered here');
  });
}
