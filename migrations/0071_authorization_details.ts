/** Types of rich authorization requests (RFC 9396), the resources of each type, and the clients that may use it. */
import { sql, type Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db);
}

const statements = [
  `create table authorization_details_types (
    type text primary key,
    title text not null,
    description text,
    schema jsonb not null,
    version integer not null default 1,
    created_at timestamptz not null,
    updated_at timestamptz not null
  )`,
  // a resource can't be deleted while a type names it, nor a type while a client may use it
  `create table authorization_details_type_resources (
    type text not null references authorization_details_types on delete cascade,
    resource text not null references resources on delete restrict,
    primary key (type, resource)
  )`,
  'create index authorization_details_type_resources_by_resource on authorization_details_type_resources (resource)',
  `create table client_authorization_details_types (
    client_id text not null references clients on delete cascade,
    type text not null references authorization_details_types on delete restrict,
    primary key (client_id, type)
  )`,
  'create index client_authorization_details_types_by_type on client_authorization_details_types (type)',
];
