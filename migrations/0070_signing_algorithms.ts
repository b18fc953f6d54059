/** More signing algorithms, for access tokens of a resource and for objects that clients request signed. */
import { sql, type Kysely } from 'kysely';

const ALGS = `('ES256', 'RS256', 'PS256', 'Ed25519', 'EdDSA', 'ML-DSA-44', 'ML-DSA-65', 'ML-DSA-87')`;

export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db);
}

const statements = [
  `alter table resources
    drop constraint resources_signing_alg_check,
    add constraint resources_signing_alg_check check (signing_alg in ${ALGS})`,
  `alter table signing_keys
    drop constraint signing_keys_alg_check,
    add constraint signing_keys_alg_check check (alg in ${ALGS})`,
];
