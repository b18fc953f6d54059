/** Issuers whose signed statements about subjects or software this server trusts. */
import { sql, type Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`create table trusted_issuers (
    issuer text primary key check (length(issuer) between 1 and 512),
    display_name text not null,
    jwks jsonb,
    jwks_uri text,
    algs text[] not null
      check (cardinality(algs) > 0 and algs <@ array['ES256', 'RS256', 'PS256', 'Ed25519', 'EdDSA']),
    purposes text[] not null
      check (cardinality(purposes) > 0 and purposes <@ array['jwt_bearer', 'software_statement', 'token_exchange']),
    disabled_at timestamptz,
    version integer not null default 1,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    check ((jwks is null) <> (jwks_uri is null))
  )`.execute(db);
}
