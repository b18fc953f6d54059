/**
 * From which network a client came that registered without a token, or whose document was fetched, for as long as it was
 * never used: what such clients may take up of a quota is counted by it. Empty for every other client: one that was used,
 * that an admin has changed, that came with a token, or that was here before this migration. `unused_site` is the larger
 * network that an IPv6 customer may have been given.
 */
import { sql, type Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db);
}

const statements = [
  'alter table client_registrations add column unused_network text, add column unused_site text',
  `create index client_registrations_unused
    on client_registrations (policy, source, unused_site, unused_network, created_at) where unused_network is not null`,
];
