/** Roles, the groups that hold them, and the accounts that are members of groups. */
import { sql, type Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db);
}

const statements = [
  `create table roles (
    name text primary key,
    description text not null,
    version integer not null default 1,
    created_at timestamptz not null,
    updated_at timestamptz not null
  )`,
  `create table role_resources (
    role text not null references roles on delete cascade,
    resource text not null references resources,
    scopes text[] not null check (cardinality(scopes) > 0),
    primary key (role, resource)
  )`,
  'create index role_resources_by_resource on role_resources (resource)',
  `create table groups (
    group_id text primary key,
    name text not null unique,
    description text,
    version integer not null default 1,
    created_at timestamptz not null,
    updated_at timestamptz not null
  )`,
  // a role can't be deleted while a group holds it
  `create table group_roles (
    group_id text not null references groups on delete cascade,
    role text not null references roles on delete restrict,
    primary key (group_id, role)
  )`,
  'create index group_roles_by_role on group_roles (role)',
  // roles of the admin API come only from memberships that an admin has set by hand
  `create table group_members (
    account_id text not null references accounts on delete cascade,
    group_id text not null references groups on delete cascade,
    by_hand boolean not null,
    added_at timestamptz not null,
    primary key (account_id, group_id)
  )`,
  'create index group_members_by_group on group_members (group_id, added_at, account_id)',
];
