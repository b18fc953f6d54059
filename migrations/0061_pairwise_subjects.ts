/** A separate data key for pairwise subjects (OpenID Connect Core, section 8.1), which must never change. */
import { sql, type Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  // reads the list instead of repeating it, because other migrations also extend it
  const { rows } = await sql<{ definition: string }>`select pg_get_constraintdef(oid) as definition
    from pg_constraint where conname = 'data_keys_purpose_check' and conrelid = 'data_keys'::regclass`.execute(db);
  const purposes = [...rows[0]!.definition.matchAll(/'([a-z_]+)'/g)].map(([, purpose]) => `'${purpose}'`);
  await sql`alter table data_keys
    drop constraint data_keys_purpose_check,
    add constraint data_keys_purpose_check
      check (purpose in (${sql.raw([...purposes, "'pairwise_subjects'"].join(', '))}))`.execute(db);
}
