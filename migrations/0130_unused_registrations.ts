/**
 * The network of a client that registered without a token, or whose document was fetched, while it is unused: a quota
 * counts such clients by network. Null for all other clients: used ones, ones that an admin has changed, ones that
 * registered with a token, and ones from before this migration. `unused_site` is the larger network that an IPv6
 * customer may have.
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
