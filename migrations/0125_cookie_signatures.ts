/**
 * The time from which nodes sign cookies with SHA-256. Nodes of the previous version know only SHA-1 and end a session
 * with another signature. While such nodes may still run, all nodes sign with SHA-1.
 */
import { sql, type Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`create table cookie_signatures (sha256_from timestamptz not null)`.execute(db);
  // without a session there is no older node, or nothing to lose
  await sql`insert into cookie_signatures
    select now() + case when exists (select 1 from artifacts where kind = 'Session') then interval '1 hour' else '0' end`.execute(
    db,
  );
}
