/** Tells which resources and scopes exist, for rows that name them without a foreign key. */
import type { Tx } from '../db/connection.ts';
import { OPENID_SCOPES } from './resource.ts';

type Scopes = Readonly<Record<string, readonly string[]>>;

/**
 * Returns the record of scopes by resource without names of resources and scopes that do not exist; `undefined` if all of
 * them exist. They can't be deleted until the transaction ends, so the end of their rights finds the rows that the
 * transaction stores (ended_rights.ts). What a person lets an API read about them stays while the API exists
 * (accounts/data_for_apis.ts). Lock clients and accounts before.
 */
export async function withExistingResources(tx: Tx, byResource: Scopes): Promise<Scopes | undefined> {
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
  const kept = Object.entries(byResource).flatMap(([resource, entries]): [string, readonly string[]][] => {
    const scopes = existing.get(resource);
    const left = scopes ? entries.filter((entry) => scopes.has(entry) || !canBeScopeOfApi(entry)) : [];
    return left.length > 0 ? [[resource, left]] : [];
  });
  const counted = (all: Scopes): number => Object.values(all).reduce((sum, scopes) => sum + scopes.length + 1, 0);
  const left = Object.fromEntries(kept);
  return counted(left) === counted(byResource) ? undefined : left;
}

const OPENID: ReadonlySet<string> = new Set(OPENID_SCOPES);

/** False for scopes of OpenID Connect, and for entries with a character that no scope can have (RFC 6749, 3.3). */
function canBeScopeOfApi(entry: string): boolean {
  return !OPENID.has(entry) && !entry.includes('"');
}
