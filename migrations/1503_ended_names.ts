/**
 * Names of deleted resources and removed scopes are kept for two days after their rights have ended, longer than a token
 * lives. So only a resource or scope that is made again with the same name has a time from which tokens are for it; the
 * clocks of nodes differ, and a first one needs no such time.
 */
import { sql, type Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`alter table ended_resources add column completed_at timestamptz`.execute(db);
  await sql`alter table resources add column tokens_valid_from timestamptz not null default 'epoch'`.execute(db);
}
