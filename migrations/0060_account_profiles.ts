/** What OpenID Connect can tell about a person beyond name and address: one document, validated where it is written. */
import { sql, type Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`alter table accounts
    add column profile jsonb not null default '{}'
      check (jsonb_typeof(profile) = 'object' and octet_length(profile::text) <= 65536)`.execute(db);
}
