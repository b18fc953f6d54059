/**
 * Keeps the database small: rows that come and go are cleared away soon after they went, what is looked for has an
 * index that leads there at once, and the trail carries no more index than its questions need.
 */
import { sql, type Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db);
  const { rows } = await sql<{ name: string }>`select inhrelid::regclass::text as name from pg_inherits
    where inhparent = 'audit_links'::regclass`.execute(db);
  for (const { name } of rows) await sql.raw(`alter table ${name} set (${SOON})`).execute(db);
}

/** Autovacuum waits for a fifth of a table to be dead otherwise, which of a table that was once large is a lot. */
const SOON = 'autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000';
/** Room in each page for the row's next version, so that a change of a column that no index has touches no index. */
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

  // what has ended is found without a look at every secret that there is
  `create index client_secrets_by_end on client_secrets (least(ended_at, expires_at))
    where least(ended_at, expires_at) is not null`,

  'create index clients_by_rotation on clients (created_at, client_id) where secret_rotation_days is not null',
  // Finds a part of a name among millions. It comes with PostgreSQL but may be missing, or not be ours to switch on; then
  // all clients are looked through. Such an index never forgets a group of three letters: of ASCII's there are not many,
  // of all others a stranger who registers clients could make up more and more. Who has switched it on may have put it
  // into any schema.
  `do $$ begin
    create extension if not exists pg_trgm;
    execute format($index$create index clients_by_text on clients using gin ((lower(regexp_replace(
      client_id || ' ' || coalesce(metadata->>'client_name', ''), '[^ -~]', '?', 'g'))) %s.gin_trgm_ops)
      with (fastupdate = off)$index$, (select extnamespace::regnamespace from pg_extension where extname = 'pg_trgm'));
  exception
    when lock_not_available or deadlock_detected then raise;
    when others then raise notice 'no index for parts of names: %', sqlerrm;
  end $$`,

  // The trail's two largest indexes held what decides between entries of one moment, and nothing else. Postgres sorts
  // those itself, and keeps the moment once for all of them.
  'drop index audit_events_by_time',
  'create index audit_events_by_time on audit_events (occurred_at)',
  'drop index audit_events_live_tokens',
  `create index audit_events_live_tokens on audit_events (client_id, (details->>'expires_at') collate "C")
    where event = 'token.issued' and details ? 'expires_at'`,
];
