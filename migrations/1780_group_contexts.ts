/** The authentication context that each login of a group's members needs. */
import { sql, type Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`alter table groups add column required_acr text`.execute(db);
}
