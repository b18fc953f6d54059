/** A name for each API, which people are shown instead of its identifier. */
import { sql, type Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`alter table resources add column display_name text`.execute(db);
}
