/** A data key of its own for pairwise subjects (OpenID Connect Core, 8.1): they must stay what they are for ever. */
import { sql, type Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  // the list is read and not repeated: other migrations add to it too
  const { rows } = await sql<{ definition: string }>`select pg_get_constraintdef(oid) as definition
    from pg_constraint where conname = 'data_keys_purpose_check' and conrelid = 'data_keys'::regclass`.execute(db);
  const purposes = [...rows[0]!.definition.matchAll(/'([a-z_]+)'/g)].map(([, purpose]) => `'${purpose}'`);
  await sql`alter table data_keys
    drop constraint data_keys_purpose_check,
    add constraint data_keys_purpose_check
      check (purpose in (${sql.raw([...purposes, "'pairwise_subjects'"].join(', '))}))`.execute(db);
}
