/**
 * Algorithms that no resource and no client uses any more, and since when. Their keys are removed once the last token
 * has expired. A change that uses such an algorithm again deletes its row, and so waits for a node that is just removing
 * the keys.
 */
import { sql, type Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`create table unused_signing_algs (alg text primary key, since timestamptz not null)`.execute(db);
}
