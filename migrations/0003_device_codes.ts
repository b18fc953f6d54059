/** A table for device codes (RFC 8628), which have states, an owner, and polls to count. */
import { sql, type Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db);
}

const statements = [
  // 'claimed': a browser has confirmed the code, and a login or consent is not done yet; only that browser may
  // continue.
  `create table device_codes (
    device_code bytea primary key check (octet_length(device_code) = 32),
    user_code bytea not null unique check (octet_length(user_code) = 32),
    client_id text not null references clients on delete cascade,
    status text not null check (status in ('pending', 'claimed', 'approved', 'denied')),
    claimed_by bytea check (octet_length(claimed_by) = 32),
    account_id text references accounts on delete cascade,
    grant_id bytea references grants on delete cascade,
    payload jsonb not null,
    interval_seconds integer not null check (interval_seconds between 5 and 60),
    polled_at timestamptz,
    polled_too_soon boolean not null default false,
    consumed_at timestamptz,
    created_at timestamptz not null,
    expires_at timestamptz not null,
    check ((status = 'approved') = (account_id is not null and grant_id is not null)),
    check (status not in ('claimed', 'approved') or claimed_by is not null),
    check (consumed_at is null or status = 'approved')
  )`,
  'create index device_codes_by_client on device_codes (client_id)',
  'create index device_codes_by_account on device_codes (account_id) where account_id is not null',
  'create index device_codes_by_grant on device_codes (grant_id) where grant_id is not null',
  'create index device_codes_by_expiry on device_codes (expires_at)',
  // No other artifact has a user code.
  'drop index artifacts_by_user_code',
  'alter table artifacts drop column user_code',
];
