/**
 * The OpenID Connect claims of a person besides name and e-mail address: one document, validated when it is written.
 */
import { sql, type Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`alter table accounts
    add column profile jsonb not null default '{}'
      check (jsonb_typeof(profile) = 'object' and octet_length(profile::text) <= 65536)`.execute(db);
}
