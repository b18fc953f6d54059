/** Clients that register themselves: registration policies, initial access tokens, and a client's links to both. */
import { sql, type Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db);
}

const statements = [
  `create table registration_policies (
    name text primary key,
    settings jsonb not null,
    open_registration boolean not null,
    client_id_metadata_documents boolean not null,
    clients_at_most integer not null check (clients_at_most > 0),
    unused_client_ttl_seconds integer check (unused_client_ttl_seconds > 0),
    version integer not null default 1,
    created_at timestamptz not null,
    updated_at timestamptz not null
  )`,
  // A client without a token, or with a URL as its client id, registers under one fixed policy.
  'create unique index registration_policies_one_open on registration_policies (open_registration) where open_registration',
  `create unique index registration_policies_one_for_documents on registration_policies (client_id_metadata_documents)
    where client_id_metadata_documents`,
  `create table registration_policy_resources (
    policy text not null references registration_policies on delete cascade,
    resource text not null references resources,
    scopes text[] not null check (cardinality(scopes) > 0),
    primary key (policy, resource)
  )`,
  'create index registration_policy_resources_by_resource on registration_policy_resources (resource)',

  `create table initial_access_tokens (
    token_id text primary key,
    digest bytea not null unique check (octet_length(digest) = 32),
    policy text not null references registration_policies on delete cascade,
    note text,
    uses integer not null check (uses > 0),
    uses_left integer not null check (uses_left between 0 and uses),
    created_at timestamptz not null,
    expires_at timestamptz not null,
    revoked_at timestamptz
  )`,
  'create index initial_access_tokens_by_creation on initial_access_tokens (created_at, token_id)',
  'create index initial_access_tokens_by_policy on initial_access_tokens (policy)',
  'create index initial_access_tokens_by_expiry on initial_access_tokens (expires_at)',

  // 'held_members' are those that an admin has set: the client's own updates do not change them.
  `create table client_registrations (
    client_id text primary key references clients on delete cascade,
    source text not null check (source in ('registration', 'metadata_document')),
    policy text not null references registration_policies,
    initial_access_token_id text references initial_access_tokens on delete set null,
    registration_access_token bytea unique check (octet_length(registration_access_token) = 32),
    held_members text[] not null default '{}',
    software_statement text,
    document_fetched_at timestamptz,
    document_fresh_until timestamptz,
    created_at timestamptz not null,
    check (source = 'registration' or (registration_access_token is null and software_statement is null)),
    check ((source = 'metadata_document') = (document_fetched_at is not null)),
    check ((source = 'metadata_document') = (document_fresh_until is not null))
  )`,
  'create index client_registrations_by_policy on client_registrations (policy, created_at)',
  // clients are now created and removed automatically, and each takes its artifacts with it
  'create index artifacts_by_client on artifacts (client_id) where client_id is not null',
  'create index client_registrations_by_token on client_registrations (initial_access_token_id)',
];
