/**
 * Keeps all roles and groups in memory, and decides which scopes a person may have. The memberships of a person come with
 * a statement that reads their token or account anyway. Where no role and no group is defined, nothing is computed.
 */
import { sql } from 'kysely';
import type { RequirableAcr } from '../base/acr_values.ts';
import { LatestWins } from '../base/latest_wins.ts';
import type { Database } from '../db/connection.ts';
import type { Memberships } from './memberships.ts';

const NONE: readonly never[] = [];

interface KnownGroup {
  readonly name: string;
  readonly roles: readonly string[];
}

interface Known {
  readonly groups: ReadonlyMap<string, KnownGroup>;
  /** The contexts that groups require of each login of their members, by the id of the group. */
  readonly requiredAcrs: ReadonlyMap<string, RequirableAcr>;
  /** The roles that have a scope, by resource and scope. */
  readonly tied: ReadonlyMap<string, ReadonlyMap<string, ReadonlySet<string>>>;
}

/** Whether a person may have a scope. */
export type Permits = (scope: string) => boolean;

export class RoleDirectory {
  readonly #database: Database;
  readonly #adminResource: string;
  readonly #newest = new LatestWins();
  #known: Known = { groups: new Map(), requiredAcrs: new Map(), tied: new Map() };

  /** `adminResource` identifies the admin API: a person gets each of its scopes only through a role. */
  constructor(database: Database, adminResource: string) {
    this.#database = database;
    this.#adminResource = adminResource;
  }

  load(): Promise<void> {
    return this.#newest.run(
      () => readAll(this.#database),
      (known) => {
        this.#known = known;
      },
    );
  }

  /** Whether the groups of a person need to be read: without any group, a person is in none. */
  get hasGroups(): boolean {
    return this.#known.groups.size > 0;
  }

  /** Whether some group requires an authentication context of its members. */
  get requiresContexts(): boolean {
    return this.#known.requiredAcrs.size > 0;
  }

  /** The contexts that the person's groups require of each of their logins. */
  requiredAcrs(memberships: Memberships): readonly RequirableAcr[] {
    const { requiredAcrs } = this.#known;
    if (requiredAcrs.size === 0) return NONE;
    return Object.keys(memberships).flatMap((groupId) => requiredAcrs.get(groupId) ?? []);
  }

  /** Which scopes of the resource the person may have; `undefined` if each of them is for every person. */
  permits(resource: string, memberships: Memberships): Permits | undefined {
    const isAdminResource = resource === this.#adminResource;
    const tied = this.#known.tied.get(resource);
    if (!tied && !isAdminResource) return undefined;
    const held = this.#rolesOf(memberships, isAdminResource);
    return (scope) => {
      const roles = tied?.get(scope);
      return roles ? !roles.isDisjointFrom(held) : !isAdminResource;
    };
  }

  /** Whether the person has any scope of the admin API. */
  administers(memberships: Memberships): boolean {
    return this.#hasScopeOf(this.#adminResource, memberships);
  }

  /** The resources of which the person has a scope through a role. */
  resourcesOf(memberships: Memberships): string[] {
    return [...this.#known.tied.keys()].filter((resource) => this.#hasScopeOf(resource, memberships));
  }

  #hasScopeOf(resource: string, memberships: Memberships): boolean {
    const held = this.#rolesOf(memberships, resource === this.#adminResource);
    return [...(this.#known.tied.get(resource)?.values() ?? [])].some((roles) => !roles.isDisjointFrom(held));
  }

  /** The names of the person's groups, in order. */
  groupNames(memberships: Memberships): string[] {
    const { groups } = this.#known;
    return Object.keys(memberships)
      .flatMap((groupId) => groups.get(groupId)?.name ?? [])
      .sort();
  }

  /** The names of the roles that the person holds, in order. */
  roleNames(memberships: Memberships): string[] {
    return [...this.#rolesOf(memberships, false)].sort();
  }

  #rolesOf(memberships: Memberships, byHandOnly: boolean): Set<string> {
    const { groups } = this.#known;
    const counted = Object.entries(memberships).filter(([, byHand]) => byHand || !byHandOnly);
    return new Set(counted.flatMap(([groupId]) => groups.get(groupId)?.roles ?? []));
  }
}

interface GroupRow extends KnownGroup {
  readonly group_id: string;
  readonly required_acr: RequirableAcr | null;
}

async function readAll(database: Database): Promise<Known> {
  // one statement, so that all rows are of the same moment
  const { rows } = await sql<{
    readonly groups: readonly GroupRow[] | null;
    readonly access: readonly { readonly role: string; readonly resource: string; readonly scopes: string[] }[] | null;
  }>`select
    (select jsonb_agg(jsonb_build_object('group_id', group_id, 'name', name, 'required_acr', required_acr,
      'roles', array(select role from group_roles where group_roles.group_id = groups.group_id))) from groups) as groups,
    (select jsonb_agg(to_jsonb(role_resources)) from role_resources) as access`.execute(database);
  const [{ groups, access } = { groups: null, access: null }] = rows;
  const tied = new Map<string, Map<string, Set<string>>>();
  for (const { role, resource, scopes } of access ?? []) {
    const ofResource = tied.get(resource) ?? new Map<string, Set<string>>();
    tied.set(resource, ofResource);
    for (const scope of scopes) ofResource.set(scope, new Set([...(ofResource.get(scope) ?? []), role]));
  }
  const all = groups ?? [];
  return {
    groups: new Map(all.map(({ group_id, name, roles }) => [group_id, { name, roles }])),
    requiredAcrs: new Map(all.flatMap(({ group_id, required_acr: acr }) => (acr === null ? [] : [[group_id, acr]]))),
    tied,
  };
}
