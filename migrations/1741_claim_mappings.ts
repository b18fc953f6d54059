/** The claims about people that an admin adds to access tokens for a resource. */
import { sql, type Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`alter table resources add column claim_mappings jsonb not null default '[]'`.execute(db);
}
