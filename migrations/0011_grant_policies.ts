/**
 * Policies for exchanging a token or an assertion for another token (RFC 8693, RFC 7523), and links from external
 * subjects to accounts.
 */
import { sql, type Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db);
}

const statements = [
  // The subject is in a token of this server for a resource, or in an assertion of a trusted issuer.
  `create table grant_policies (
    policy_id text primary key,
    grant_type text not null check (grant_type in ('token_exchange', 'jwt_bearer')),
    client_id text not null references clients on delete cascade,
    subject_resource text references resources on delete cascade,
    subject_issuer text references trusted_issuers on delete cascade,
    subject_account text check (subject_account in ('external', 'verified_email', 'linked')),
    email_domains text[] not null,
    subjects text[] check (cardinality(subjects) > 0),
    resource text not null references resources on delete cascade,
    mode text check (mode in ('delegation', 'impersonation')),
    max_ttl_seconds integer not null check (max_ttl_seconds between 10 and 86400),
    version integer not null default 1,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    check ((subject_resource is null) <> (subject_issuer is null)),
    check ((subject_issuer is null) = (subject_account is null)),
    check ((subject_account is not distinct from 'verified_email') = (cardinality(email_domains) > 0)),
    check (subjects is null or subject_issuer is not null),
    check ((grant_type = 'token_exchange') = (mode is not null)),
    check (grant_type = 'token_exchange' or subject_issuer is not null),
    constraint grant_policies_one_of_each
      unique nulls not distinct (client_id, grant_type, subject_resource, subject_issuer, resource)
  )`,
  'create index grant_policies_by_creation on grant_policies (grant_type, created_at, policy_id)',
  'create index grant_policies_by_resource on grant_policies (resource)',
  'create index grant_policies_by_subject_resource on grant_policies (subject_resource) where subject_resource is not null',
  'create index grant_policies_by_subject_issuer on grant_policies (subject_issuer) where subject_issuer is not null',
  // With 'from_scope', the scope is granted only if the subject's token has that scope.
  `create table grant_policy_scopes (
    policy_id text not null references grant_policies on delete cascade,
    scope text not null,
    from_scope text,
    unique nulls not distinct (policy_id, scope, from_scope)
  )`,
  `create table subject_links (
    link_id text primary key,
    issuer text not null references trusted_issuers on delete cascade,
    subject text not null check (length(subject) between 1 and 255),
    account_id text not null references accounts on delete cascade,
    created_at timestamptz not null,
    unique (issuer, subject)
  )`,
  'create index subject_links_by_account on subject_links (account_id, created_at, link_id)',
];
