/** Tells which resources and scopes exist, for rows that name them without a foreign key. */
import type { Tx } from '../db/connection.ts';
import { userinfoIdentifier } from './own_identifiers.ts';

type Scopes = Readonly<Record<string, readonly string[]>>;

/**
 * Returns the record of scopes by resource without names of resources and scopes that do not exist; `undefined` if all of
 * them exist. They can't be deleted until the transaction ends, so the end of their rights finds the rows that the
 * transaction stores (ended_rights.ts). `issuer` is this server's, whose userinfo endpoint is named without being a
 * registered resource. Lock clients and accounts before.
 */
export async function withExistingResources(tx: Tx, issuer: string, byResource: Scopes): Promise<Scopes | undefined> {
  const names = Object.keys(byResource);
  if (names.length === 0) return undefined;
  const rows = await tx
    .selectFrom('resources')
    .select(['identifier', 'scopes'])
    .where('identifier', 'in', names)
    .orderBy('identifier')
    .forShare()
    .execute();
  const existing = new Map(rows.map(({ identifier, scopes }) => [identifier, new Set(scopes.map(({ name }) => name))]));
  const kept = Object.entries(byResource).flatMap(([resource, scopes]): [string, readonly string[]][] => {
    if (resource === userinfoIdentifier(issuer)) return [[resource, scopes]];
    const left = scopes.filter((scope) => existing.get(resource)?.has(scope));
    return left.length > 0 ? [[resource, left]] : [];
  });
  const counted = (all: Scopes): number => Object.values(all).reduce((sum, scopes) => sum + scopes.length + 1, 0);
  const left = Object.fromEntries(kept);
  return counted(left) === counted(byResource) ? undefined : left;
}
