/** Tells which resources exist, for rows that name resources without a foreign key. */
import type { Tx } from '../db/connection.ts';

/**
 * Returns the record without names of resources that do not exist. Those that exist can't be deleted until the
 * transaction ends, so the end of their rights finds the rows that the transaction stores (ended_rights.ts). Lock clients
 * and accounts before.
 */
export async function withExistingResources<Value>(
  tx: Tx,
  byResource: Readonly<Record<string, Value>>,
): Promise<Record<string, Value>> {
  const names = Object.keys(byResource);
  if (names.length === 0) return {};
  const rows = await tx
    .selectFrom('resources')
    .select('identifier')
    .where('identifier', 'in', names)
    .orderBy('identifier')
    .forKeyShare()
    .execute();
  const existing = new Set(rows.map(({ identifier }) => identifier));
  return Object.fromEntries(Object.entries(byResource).filter(([name]) => existing.has(name)));
}
