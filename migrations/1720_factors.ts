/**
 * Factors of a login besides the password: authenticator apps (TOTP), passkeys and recovery codes; devices on which a
 * person does not repeat the second step; and accounts whose limits of wrong logins an admin has ended.
 */
import { sql, type Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db);
  const { rows } = await sql<{ definition: string }>`select pg_get_constraintdef(oid) as definition
    from pg_constraint where conname = 'data_keys_purpose_check' and conrelid = 'data_keys'::regclass`.execute(db);
  const purposes = [...rows[0]!.definition.matchAll(/'([a-z_]+)'/g)].map(([, purpose]) => `'${purpose}'`);
  await sql`alter table data_keys
    drop constraint data_keys_purpose_check,
    add constraint data_keys_purpose_check
      check (purpose in (${sql.raw([...purposes, "'totp'"].join(', '))}))`.execute(db);
}

const OWNER = 'account_id text not null references accounts on delete cascade';

const statements = [
  // the last time step of which a code was used: no code is used twice
  `create table totp_secrets (
    account_id text primary key references accounts on delete cascade,
    data_key_id text not null references data_keys,
    sealed bytea not null,
    last_step integer not null,
    created_at timestamptz not null,
    last_used_at timestamptz
  )`,

  // for_enrolment: a code that an admin gave to an account, instead of the ten of its owner
  `create table recovery_codes (
    ${OWNER},
    digest bytea not null check (octet_length(digest) = 32),
    pepper_id text not null references data_keys,
    for_enrolment boolean not null,
    created_at timestamptz not null,
    expires_at timestamptz,
    primary key (account_id, digest)
  )`,

  `create table passkeys (
    credential_id text primary key,
    passkey_id text not null unique,
    ${OWNER},
    name text not null,
    public_key bytea not null,
    counter bigint not null,
    transports text[] not null,
    aaguid text not null,
    backup_eligible boolean not null,
    backed_up boolean not null,
    created_at timestamptz not null,
    last_used_at timestamptz
  )`,
  'create index passkeys_by_account on passkeys (account_id)',

  `create table remembered_devices (
    device_id text primary key,
    ${OWNER},
    digest bytea not null unique check (octet_length(digest) = 32),
    name text not null,
    created_at timestamptz not null,
    last_used_at timestamptz not null,
    expires_at timestamptz not null
  )`,
  'create index remembered_devices_by_account on remembered_devices (account_id)',
  'create index remembered_devices_by_expiry on remembered_devices (expires_at)',

  `create table login_unlocks (
    account bytea primary key check (octet_length(account) = 32),
    unlocked_at timestamptz not null
  )`,
  'create index login_unlocks_by_time on login_unlocks (unlocked_at)',

  'alter table resources add column required_acr text',
];
