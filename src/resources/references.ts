/** Finds objects that reference a resource or its scopes; while they exist, the resource or scope cannot be removed. */
import { sql } from 'kysely';
import { conflict } from '../base/refusal.ts';
import type { Tx } from '../db/connection.ts';
import type { Tables } from '../db/tables.ts';

interface ReferenceSource {
  readonly table: keyof Tables;
  /** The columns that contain a resource identifier. */
  readonly resource: readonly string[];
  /** The column that identifies the referencing object. */
  readonly source: string;
  readonly refusal: (resource: string, names: string) => string;
}

const REFERENCE_SOURCES: readonly ReferenceSource[] = [
  {
    table: 'client_resources',
    resource: ['resource'],
    source: 'client_id',
    refusal: (resource, clients) => `Clients may still request ${resource} (${clients}); remove it from them first.`,
  },
  {
    table: 'grant_policies',
    resource: ['resource', 'subject_resource'],
    source: 'policy_id',
    refusal: (resource, policies) => `Policies still use ${resource} (${policies}); delete them first.`,
  },
  {
    table: 'authorization_details_type_resources',
    resource: ['resource'],
    source: 'type',
    refusal: (resource, types) =>
      `Types of authorization details still use ${resource} (${types}); remove it from them first.`,
  },
  {
    table: 'registration_policy_resources',
    resource: ['resource'],
    source: 'policy',
    refusal: (resource, policies) =>
      `Registration policies still include ${resource} (${policies}); remove it from them first.`,
  },
  {
    table: 'role_resources',
    resource: ['resource'],
    source: 'role',
    refusal: (resource, roles) => `Roles still have scopes of ${resource} (${roles}); remove it from them first.`,
  },
];

/** The message names at most this many objects. */
const NAMED_AT_MOST = 3;

/** Refuses with `conflict` while another object references the resource. */
export async function refuseWhileReferenced(tx: Tx, identifier: string): Promise<void> {
  for (const { table, resource, source, refusal } of REFERENCE_SOURCES) {
    const { rows } = await sql<{ name: string }>`
      select ${sql.ref(source)} as name from ${sql.table(table)}
      where ${identifier} in (${sql.join(resource.map((column) => sql.ref(column)))})
      limit ${sql.lit(NAMED_AT_MOST)}`.execute(tx);
    if (rows.length > 0) throw conflict(refusal(identifier, rows.map(({ name }) => name).join(', ')));
  }
}

/** Refuses with `conflict` while a role has one of the scopes. */
export async function refuseWhileRolesHave(tx: Tx, identifier: string, scopes: readonly string[]): Promise<void> {
  const { rows } = await sql<{ role: string }>`
    select role from role_resources where resource = ${identifier} and scopes && ${scopes}::text[]
    order by role limit ${sql.lit(NAMED_AT_MOST)}`.execute(tx);
  if (rows.length === 0) return;
  const names = rows.map(({ role }) => role).join(', ');
  throw conflict(
    `Roles still have scopes that would be removed from ${identifier} (${names}): a later scope of the same name would be for everybody. Take them from the roles first, or send open_scopes=true.`,
  );
}
