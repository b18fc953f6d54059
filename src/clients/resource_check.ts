/** Checks that the resources and scopes that a client or policy gets exist. */
import { invalid } from '../base/refusal.ts';
import { normalUri } from '../base/uri.ts';
import type { Tx } from '../db/connection.ts';
import type { ResourceAccess } from './metadata/access.ts';

/** What a client or policy gets. */
interface NamedResources {
  readonly resources: ResourceAccess[];
  readonly introspects: string[];
  /** The identifier as it is registered, for a name that was given. */
  readonly registered: (name: string) => string;
}

/**
 * Returns the same with the identifiers as they are registered. Throws `Refused` unless all exist and each is named
 * once. Locks the resources against changes, so that no scope disappears before the commit.
 */
export async function requireResources(
  tx: Tx,
  { resources, introspects = [] }: { readonly resources: readonly ResourceAccess[]; readonly introspects?: string[] },
): Promise<NamedResources> {
  const names = [...resources.map((access) => access.resource), ...introspects];
  if (names.length === 0) return { resources: [], introspects: [], registered: (name) => name };
  const rows = await tx
    .selectFrom('resources')
    .select(['identifier', 'normal_form', 'scopes'])
    .where('normal_form', 'in', names.map(normalUri))
    .forShare()
    .execute();
  const known = new Map(rows.map((row) => [row.normal_form, row]));
  const find = (name: string, pointer: string) => {
    const row = known.get(normalUri(name));
    if (!row) throw invalid(pointer, 'names a resource that is not registered');
    return row;
  };
  const access = resources.map(({ resource, scopes }, index) => {
    const { identifier, scopes: its } = find(resource, `/resources/${index}/resource`);
    const existing = new Set(its.map((scope) => scope.name));
    const unknown = scopes.filter((scope) => !existing.has(scope));
    if (unknown.length > 0)
      throw invalid(
        `/resources/${index}/scopes`,
        `names scopes that ${identifier} does not have: ${unknown.join(' ')}`,
      );
    return { resource: identifier, scopes };
  });
  const introspected = introspects.map((name, index) => find(name, `/introspects/${index}`).identifier);
  refuseTwice(
    access.map(({ resource }) => resource),
    (index) => `/resources/${index}/resource`,
  );
  refuseTwice(introspected, (index) => `/introspects/${index}`);
  const registered = (name: string): string => known.get(normalUri(name))?.identifier ?? name;
  return { resources: access, introspects: introspected, registered };
}

/** The same resource may be written in two ways. */
function refuseTwice(identifiers: readonly string[], pointer: (index: number) => string): void {
  const index = identifiers.findIndex((identifier, at) => identifiers.indexOf(identifier) < at);
  if (index >= 0) throw invalid(pointer(index), `names ${identifiers[index]!} a second time`);
}
