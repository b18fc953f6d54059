/**
 * One-time links for people: to set a first password, to reset one, to prove a new e-mail address, to take back a change
 * of address, and to report a change. Only the digest of a link's value is stored.
 */
import { sql, type Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db);
}

const statements = [
  // `email` is the address that the link is about: the one to prove, or the one to take back. `sent_to` is the address
  // that the link was sent to, null if an admin was shown it. `change` names the change that a report is about.
  `create table account_links (
    link_id text primary key,
    digest bytea not null unique,
    account_id text not null references accounts on delete cascade,
    kind text not null check (kind ~ '^[a-z_]{1,40}$'),
    email text,
    sent_to text,
    change jsonb,
    created_at timestamptz not null,
    expires_at timestamptz not null
  )`,
  'create index account_links_by_account on account_links (account_id)',
  'create index account_links_by_expiry on account_links (expires_at)',
];
