/** A separate data key for DPoP nonces (RFC 9449, section 8), the same on each node. */
import { sql, type Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`alter table data_keys
    drop constraint data_keys_purpose_check,
    add constraint data_keys_purpose_check
      check (purpose in ('pepper', 'cookies', 'cursors', 'replies', 'dpop_nonces', 'signing_key'))`.execute(db);
}
