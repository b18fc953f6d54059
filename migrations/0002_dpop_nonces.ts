/** A data key of its own for the nonces that DPoP proofs carry (RFC 9449, 8): the same on every node. */
import { sql, type Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`alter table data_keys
    drop constraint data_keys_purpose_check,
    add constraint data_keys_purpose_check
      check (purpose in ('pepper', 'cookies', 'cursors', 'replies', 'dpop_nonces', 'signing_key'))`.execute(db);
}
