/** A person who downloads their data sees the mails that wait for them; the rest of the outbox need not be read for it. */
import { sql, type Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`create index outbox_mails on outbox (client_id) where kind = 'mail'`.execute(db);
}
