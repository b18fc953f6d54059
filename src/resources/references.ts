/** Who may name a resource, and keeps it from being deleted for as long as they do. */
import { sql } from 'kysely';
import { conflict } from '../base/refusal.ts';
import type { Tx } from '../db/connection.ts';
import type { Tables } from '../db/tables.ts';

interface Holders {
  readonly table: keyof Tables;
  /** The columns that name a resource. */
  readonly resource: readonly string[];
  /** The column that says who names it. */
  readonly holder: string;
  readonly refusal: (resource: string, holders: string) => string;
}

const HOLDERS: readonly Holders[] = [
  {
    table: 'client_resources',
    resource: ['resource'],
    holder: 'client_id',
    refusal: (resource, clients) => `Clients may still ask for ${resource} (${clients}); take it from them first.`,
  },
  {
    table: 'grant_policies',
    resource: ['resource', 'subject_resource'],
    holder: 'policy_id',
    refusal: (resource, policies) => `Policies still name ${resource} (${policies}); delete them first.`,
  },
  {
    table: 'authorization_details_type_resources',
    resource: ['resource'],
    holder: 'type',
    refusal: (resource, types) =>
      `Types of authorization details are for ${resource} (${types}); take it from them first.`,
  },
  {
    table: 'registration_policy_resources',
    resource: ['resource'],
    holder: 'policy',
    refusal: (resource, policies) => `Registration policies give ${resource} (${policies}); take it out of them first.`,
  },
];

/** As many as help who has to take it from them. */
const NAMED_AT_MOST = 3;

/** Refuses with `conflict` while anybody names the resource. */
export async function refuseWhileReferenced(tx: Tx, identifier: string): Promise<void> {
  for (const { table, resource, holder, refusal } of HOLDERS) {
    const { rows } = await sql<{ name: string }>`
      select ${sql.ref(holder)} as name from ${sql.table(table)}
      where ${identifier} in (${sql.join(resource.map((column) => sql.ref(column)))})
      limit ${sql.lit(NAMED_AT_MOST)}`.execute(tx);
    if (rows.length > 0) throw conflict(refusal(identifier, rows.map(({ name }) => name).join(', ')));
  }
}
