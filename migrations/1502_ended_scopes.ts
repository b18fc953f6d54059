/**
 * Scopes that were removed from a resource end as a deleted resource does: a row of `ended_resources` with a scope is for
 * that scope alone. `scopes_added_at` has the time of each scope that was added to a resource later than the resource was
 * made, so that a scope of the same name is told from the one that was removed.
 */
import { sql, type Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`alter table ended_resources add column scope text`.execute(db);
  await sql`alter table ended_resources drop constraint ended_resources_pkey`.execute(db);
  await sql`alter table ended_resources add constraint ended_resources_key unique nulls not distinct (identifier, scope)`.execute(
    db,
  );
  await sql`alter table resources add column scopes_added_at jsonb not null default '{}'`.execute(db);
}
