/**
 * Accounts that lost their second factor because its addition was reported by a link in a mail. Who reads the mailbox
 * must not get past the second factor with it, so the next login needs more than a new password.
 */
import { sql, type Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  // `password` is the digest of a password hash: with this very password, the account needs nothing else
  await sql`create table factor_needs (
    account_id text primary key references accounts on delete cascade,
    password text,
    created_at timestamptz not null
  )`.execute(db);
}
