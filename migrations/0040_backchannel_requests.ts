/** A table for backchannel authentication requests (CIBA), as for device codes: states, an owner, polls. */
import { sql, type Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db);
}

const statements = [
  `create table backchannel_requests (
    auth_req_id bytea primary key check (octet_length(auth_req_id) = 32),
    client_id text not null references clients on delete cascade,
    account_id text not null references accounts on delete cascade,
    status text not null check (status in ('pending', 'approved', 'denied')),
    grant_id bytea references grants on delete cascade,
    binding_message text check (char_length(binding_message) between 1 and 100),
    max_age_seconds integer check (max_age_seconds >= 0),
    address text,
    payload jsonb not null,
    interval_seconds integer not null check (interval_seconds between 5 and 60),
    polled_at timestamptz,
    polled_too_soon boolean not null default false,
    consumed_at timestamptz,
    created_at timestamptz not null,
    expires_at timestamptz not null,
    check ((status = 'approved') = (grant_id is not null)),
    check (consumed_at is null or status = 'approved')
  )`,
  'create index backchannel_requests_by_client on backchannel_requests (client_id)',
  'create index backchannel_requests_by_account on backchannel_requests (account_id, created_at)',
  'create index backchannel_requests_by_grant on backchannel_requests (grant_id) where grant_id is not null',
  'create index backchannel_requests_by_expiry on backchannel_requests (expires_at)',
];
