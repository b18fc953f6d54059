/**
 * A client that registered itself counts as used from its first grant on, when a person has allowed it something. The
 * trigger marks it in the transaction of the grant, for older nodes too. The trigger's name comes after those of
 * foreign keys (PostgreSQL fires them by name), so the client's row is locked before its registration's, as everywhere
 * else.
 */
import { sql, type Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db);
}

const statements = [
  `create function mark_registration_used() returns trigger language plpgsql as $$ begin
    update client_registrations set unused_network = null, unused_site = null
      where client_id = new.client_id and unused_network is not null;
    return null;
  end $$`,
  `create trigger used_registration after insert on grants
    for each row execute function mark_registration_used()`,
];
