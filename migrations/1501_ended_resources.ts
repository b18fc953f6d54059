/**
 * Resources that were deleted and whose rights in grants, tokens and consents have not been removed yet. A resource of
 * the same name can be made when the row is gone.
 */
import { sql, type Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`create table ended_resources (
    identifier text primary key,
    normal_form text not null,
    ended_at timestamptz not null
  )`.execute(db);
}
