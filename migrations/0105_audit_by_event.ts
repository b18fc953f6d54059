/**
 * An index by event, without tokens, which are most of the trail and need no index. A month that is already large gets
 * no index, because creating it would block writes.
 */
import { sql, type Kysely } from 'kysely';

const LARGE_BYTES = 64 * 1024 * 1024;
const COLUMNS = `(event, occurred_at) where event <> 'token.issued'`;

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql.raw(`create index audit_events_by_event on only audit_events ${COLUMNS}`).execute(db);
  const { rows } = await sql<{ name: string }>`select inhrelid::regclass::text as name from pg_inherits
    where inhparent = 'audit_events'::regclass and pg_relation_size(inhrelid) < ${LARGE_BYTES}`.execute(db);
  for (const { name } of rows) {
    await sql.raw(`create index ${name}_by_event on ${name} ${COLUMNS}`).execute(db);
    await sql.raw(`alter index audit_events_by_event attach partition ${name}_by_event`).execute(db);
  }
}
