/**
 * The demands of later migrations on nodes: a node that does not know a migration named here is too old for this
 * database.
 */
import { sql, type Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`create table migration_demands (migration text primary key)`.execute(db);
}
