/**
 * Keeps the database small: autovacuum soon reuses deleted rows, frequent searches get an index, and the trail keeps
 * only the indexes that its queries need.
 */
import { sql, type Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db);
  const { rows } = await sql<{ name: string }>`select inhrelid::regclass::text as name from pg_inherits
    where inhparent = 'audit_links'::regclass`.execute(db);
  for (const { name } of rows) await sql.raw(`alter table ${name} set (${SOON})`).execute(db);
}

/** By default autovacuum waits until a fifth of a table is dead, which is much in a table that was once large. */
const SOON = 'autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000';
/**
 * Leaves space in each page for a new version of a row, so that an update of columns without an index changes no index.
 */
const ROOM = 'fillfactor = 80';

const statements = [
  ...[
    'artifacts',
    'grants',
    'device_codes',
    'backchannel_requests',
    'used_once',
    'revoked_tokens',
    'changes',
    'idempotency_keys',
    'outbox',
  ].map((table) => `alter table ${table} set (${SOON})`),
  ...['failed_attempts', 'client_secrets'].map((table) => `alter table ${table} set (${SOON}, ${ROOM})`),

  // finds ended secrets without a scan of all secrets
  `create index client_secrets_by_end on client_secrets (least(ended_at, expires_at))
    where least(ended_at, expires_at) is not null`,

  'create index clients_by_rotation on clients (created_at, client_id) where secret_rotation_days is not null',
  // Finds a part of a name among millions. The extension comes with PostgreSQL but may be missing, or the role may not
  // create it; then a search scans all clients. The index never removes a trigram. ASCII has few, but of all other
  // characters a stranger who registers clients could invent ever more, so they are replaced by '?'. The extension may
  // be in any schema.
  `do $$ begin
    create extension if not exists pg_trgm;
    execute format($index$create index clients_by_text on clients using gin ((lower(regexp_replace(
      client_id || ' ' || coalesce(metadata->>'client_name', ''), '[^ -~]', '?', 'g'))) %s.gin_trgm_ops)
      with (fastupdate = off)$index$, (select extnamespace::regnamespace from pg_extension where extname = 'pg_trgm'));
  exception
    when lock_not_available or deadlock_detected then raise;
    when others then raise notice 'no index for parts of names: %', sqlerrm;
  end $$`,

  // The trail's two largest indexes also had columns that only order entries of the same time. PostgreSQL can sort
  // those itself, and then stores each time once.
  'drop index audit_events_by_time',
  'create index audit_events_by_time on audit_events (occurred_at)',
  'drop index audit_events_live_tokens',
  `create index audit_events_live_tokens on audit_events (client_id, (details->>'expires_at') collate "C")
    where event = 'token.issued' and details ? 'expires_at'`,
];
