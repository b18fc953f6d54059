/**
 * When nodes begin to sign cookies with SHA-256. Nodes of the version before know SHA-1 alone, and end the session of
 * whoever comes with another signature: while they may run beside newer ones, all sign as they do.
 */
import { sql, type Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`create table cookie_signatures (sha256_from timestamptz not null)`.execute(db);
  // where no browser has a session there is no older node, or nothing to lose
  await sql`insert into cookie_signatures
    select now() + case when exists (select 1 from artifacts where kind = 'Session') then interval '1 hour' else '0' end`.execute(
    db,
  );
}
