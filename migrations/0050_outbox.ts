/** Messages to clients that must arrive: written in the transaction of their cause, sent by any node. */
import { sql, type Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db);
}

const statements = [
  // No foreign key to clients: ending a session must not wait for a change of one of its clients. A message that has
  // not failed is waiting; due_at is also the end of the lease of the node that sends it.
  `create table outbox (
    message_id text primary key,
    kind text not null check (kind ~ '^[a-z_]{1,40}$'),
    client_id text not null,
    payload jsonb not null,
    data_key_id text references data_keys,
    sealed bytea,
    attempts integer not null default 0 check (attempts >= 0),
    due_at timestamptz not null,
    failed_at timestamptz,
    failure text,
    created_at timestamptz not null,
    expires_at timestamptz not null,
    check ((data_key_id is null) = (sealed is null)),
    check ((failed_at is null) = (failure is null)),
    check (failed_at is null or sealed is null)
  )`,
  'create index outbox_waiting on outbox (due_at) where failed_at is null',
  'create index outbox_failed on outbox (expires_at) where failed_at is not null',
  `alter table data_keys
    drop constraint data_keys_purpose_check,
    add constraint data_keys_purpose_check
      check (purpose in ('pepper', 'cookies', 'cursors', 'replies', 'dpop_nonces', 'outbox', 'signing_key'))`,
];
