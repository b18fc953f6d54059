/** Whether an access token for the resource may be for userinfo too. */
import { sql, type Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`alter table resources add column userinfo_audience boolean not null default true`.execute(db);
}
