/** The first schema. Times are the nodes' (never SQL's `now()`), identifiers are text, what must stay secret is a digest or sealed. */
import { sql, type Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db);
}

const statements = [
  // What the master key seals. The row says which master key; changing it re-wraps these rows and nothing else.
  `create table data_keys (
    data_key_id text primary key,
    purpose text not null check (purpose in ('pepper', 'cookies', 'cursors', 'replies', 'signing_key')),
    master_key_id text not null,
    wrapped bytea not null,
    created_at timestamptz not null
  )`,
  'create index data_keys_by_purpose on data_keys (purpose, created_at)',

  // One row for each committed change that a node's caches depend on; see src/changes.
  `create table changes (
    sequence bigint generated always as identity primary key,
    topic text not null,
    key text not null,
    recorded_at timestamptz not null
  )`,
  'create index changes_by_time on changes (recorded_at)',

  // Appended to, never changed: (stream, sequence) is the order in which one node process wrote.
  `create table audit_events (
    stream uuid not null,
    sequence bigint not null,
    occurred_at timestamptz not null,
    event text not null,
    outcome text not null check (outcome in ('success', 'refused')),
    actor_type text not null check (actor_type in ('client', 'account', 'system', 'anonymous')),
    actor_id text,
    account_id text,
    client_id text,
    address text,
    request_id text,
    details jsonb not null,
    primary key (stream, sequence)
  )`,
  'create index audit_events_by_time on audit_events (occurred_at, stream, sequence)',
  'create index audit_events_by_client on audit_events (client_id, occurred_at) where client_id is not null',
  'create index audit_events_by_account on audit_events (account_id, occurred_at) where account_id is not null',
  `create function refuse_change() returns trigger language plpgsql as $$
    begin raise exception 'audit events are appended to, never changed'; end $$`,
  `create trigger audit_events_append_only before update or delete on audit_events
    for each row execute function refuse_change()`,
  `create trigger audit_events_never_emptied before truncate on audit_events
    for each statement execute function refuse_change()`,

  `create table resources (
    identifier text primary key,
    scopes jsonb not null,
    access_token_ttl_seconds integer not null check (access_token_ttl_seconds between 10 and 86400),
    signing_alg text not null check (signing_alg in ('ES256', 'RS256')),
    version integer not null default 1,
    created_at timestamptz not null,
    updated_at timestamptz not null
  )`,

  // 'token_generation' is in every token of the client: revoking the client raises it, and older tokens are dead.
  `create table clients (
    client_id text primary key,
    metadata jsonb not null,
    secret_rotation_days integer check (secret_rotation_days between 1 and 365),
    token_generation integer not null default 1,
    revoked_at timestamptz,
    revoked_reason text,
    version integer not null default 1,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    check ((revoked_at is null) = (revoked_reason is null))
  )`,
  'create index clients_by_creation on clients (created_at, client_id)',
  `create table client_resources (
    client_id text not null references clients on delete cascade,
    resource text not null references resources on delete cascade,
    scopes text[] not null check (cardinality(scopes) > 0),
    primary key (client_id, resource)
  )`,
  'create index client_resources_by_resource on client_resources (resource)',
  `create table client_introspects (
    client_id text not null references clients on delete cascade,
    resource text not null references resources on delete cascade,
    primary key (client_id, resource)
  )`,
  'create index client_introspects_by_resource on client_introspects (resource)',
  // A secret is either made here (keyed digest under a pepper) or was chosen by an operator (argon2id).
  `create table client_secrets (
    secret_id text primary key,
    client_id text not null references clients on delete cascade,
    pepper_id text references data_keys,
    digest bytea,
    argon2id text,
    hint text not null,
    created_at timestamptz not null,
    expires_at timestamptz,
    ended_at timestamptz,
    last_used_at timestamptz,
    check ((digest is null) = (pepper_id is null)),
    check ((digest is null) <> (argon2id is null))
  )`,
  'create index client_secrets_by_client on client_secrets (client_id, created_at)',

  `create table accounts (
    account_id text primary key,
    email text not null,
    email_verified boolean not null default false,
    name text,
    password_hash text,
    disabled_at timestamptz,
    version integer not null default 1,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    check (email = lower(email))
  )`,
  'create unique index accounts_by_email on accounts (email)',
  'create index accounts_by_creation on accounts (created_at, account_id)',
  // What a person has agreed to for a client, until it is taken back; grants come and go with sessions.
  `create table consents (
    account_id text not null references accounts on delete cascade,
    client_id text not null references clients on delete cascade,
    scopes jsonb not null,
    given_at timestamptz not null,
    primary key (account_id, client_id)
  )`,
  'create index consents_by_client on consents (client_id)',

  // A grant row is what keeps tokens alive: deleting it deletes them, and none can be stored without it.
  `create table grants (
    grant_id bytea primary key,
    account_id text not null references accounts on delete cascade,
    client_id text not null references clients on delete cascade,
    payload jsonb not null,
    created_at timestamptz not null,
    expires_at timestamptz not null
  )`,
  'create index grants_by_account on grants (account_id, client_id)',
  'create index grants_by_client on grants (client_id)',
  'create index grants_by_expiry on grants (expires_at)',
  // Codes, refresh tokens, opaque access tokens, sessions, interactions: keyed by kind and digest, kinds kept apart.
  `create table artifacts (
    kind text not null,
    artifact_id bytea not null,
    grant_id bytea references grants on delete cascade,
    account_id text references accounts on delete cascade,
    client_id text,
    uid text,
    user_code text,
    payload jsonb not null,
    consumed_at timestamptz,
    created_at timestamptz not null,
    expires_at timestamptz not null,
    primary key (kind, artifact_id)
  )`,
  'create index artifacts_by_grant on artifacts (grant_id) where grant_id is not null',
  'create index artifacts_by_account on artifacts (account_id, kind) where account_id is not null',
  'create unique index artifacts_by_uid on artifacts (kind, uid) where uid is not null',
  'create unique index artifacts_by_user_code on artifacts (kind, user_code) where user_code is not null',
  'create index artifacts_by_expiry on artifacts (expires_at)',
  // What may be used once and leaves nothing else behind, such as the jti of a client assertion.
  `create table used_once (
    purpose text not null,
    digest bytea not null,
    expires_at timestamptz not null,
    primary key (purpose, digest)
  )`,
  'create index used_once_by_expiry on used_once (expires_at)',
  // JWT access tokens that were revoked one by one, until they would have expired.
  `create table revoked_tokens (
    jti text primary key,
    client_id text not null,
    revoked_at timestamptz not null,
    expires_at timestamptz not null
  )`,
  'create index revoked_tokens_by_expiry on revoked_tokens (expires_at)',

  `create table signing_keys (
    kid text primary key,
    alg text not null check (alg in ('ES256', 'RS256')),
    status text not null check (status in ('next', 'current', 'previous')),
    public_jwk jsonb not null,
    data_key_id text not null references data_keys,
    sealed bytea not null,
    created_at timestamptz not null,
    published_at timestamptz not null,
    signs_from timestamptz,
    signed_until timestamptz
  )`,
  // Whatever two nodes do at once, an algorithm has one key that signs and one that will.
  `create unique index signing_keys_one_of_each on signing_keys (alg, status) where status in ('next', 'current')`,

  // Counts of failed attempts, shared by all nodes; the columns are those of rate-limiter-flexible.
  `create table failed_attempts (
    key varchar(255) primary key,
    points integer not null default 0,
    expire bigint
  )`,
  'create index failed_attempts_by_expiry on failed_attempts (expire)',

  `create table idempotency_keys (
    actor_id text not null,
    idempotency_key text not null,
    request_digest bytea not null,
    data_key_id text references data_keys,
    status integer,
    reply bytea,
    created_at timestamptz not null,
    primary key (actor_id, idempotency_key)
  )`,
  'create index idempotency_keys_by_creation on idempotency_keys (created_at)',
];
