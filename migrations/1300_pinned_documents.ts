/** When an admin pinned a client's metadata document: the server does not fetch it again. Null: it is not pinned. */
import { sql, type Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`alter table client_registrations add column document_pinned_at timestamptz`.execute(db);
}
