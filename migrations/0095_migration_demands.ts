/** What later migrations ask of nodes: whoever doesn't know one that is named here is too old for this database. */
import { sql, type Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`create table migration_demands (migration text primary key)`.execute(db);
}
