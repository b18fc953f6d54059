/**
 * The audit trail as evidence: monthly partitions of entries, links that cover them, signed checkpoints, and the
 * signing key. The columns of `audit_events` keep their names and order, so a node of the previous version can still
 * write.
 */
import { sql, type Kysely } from 'kysely';

const MONTHS_AHEAD = 2;

export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of tables) await sql.raw(statement).execute(db);
  const firstMonth = await keepWhatThereIs(db);
  for (const table of ['audit_events', 'audit_links', 'audit_checkpoints']) {
    await createPartition(db, table, `${table}_default`, 'default');
    const from = table === 'audit_events' ? firstMonth : monthOf(new Date());
    for (let ahead = 0; ahead <= MONTHS_AHEAD; ahead++) await createMonth(db, table, plusMonths(from, ahead));
  }
}

/** The old table becomes the first partition, up to the end of the month of its last entry. */
async function keepWhatThereIs(db: Kysely<unknown>): Promise<Date> {
  const { rows } = await sql<{ last: Date | null }>`select max(occurred_at) as last from audit_events_before`.execute(
    db,
  );
  const last = rows[0]?.last;
  if (!last) {
    await sql`drop table audit_events_before`.execute(db);
    return monthOf(new Date());
  }
  const now = new Date();
  const until = plusMonths(monthOf(last > now ? last : now), 1);
  for (const statement of [
    'drop trigger audit_events_append_only on audit_events_before',
    'alter table audit_events_before drop constraint audit_events_before_pkey',
    `alter table audit_events attach partition audit_events_before for values from (minvalue) to ('${until.toISOString()}')`,
  ]) {
    await sql.raw(statement).execute(db);
  }
  return until;
}

async function createMonth(db: Kysely<unknown>, table: string, month: Date): Promise<void> {
  const name = `${table}_${month.toISOString().slice(0, 7).replace('-', '_')}`;
  const range = `from ('${month.toISOString()}') to ('${plusMonths(month, 1).toISOString()}')`;
  await createPartition(db, table, name, `for values ${range}`);
}

async function createPartition(db: Kysely<unknown>, table: string, name: string, bounds: string): Promise<void> {
  await sql.raw(`create table ${name} partition of ${table} ${bounds}`).execute(db);
  await sql
    .raw(
      `create trigger ${name}_never_emptied before truncate on ${name} for each statement execute function refuse_change()`,
    )
    .execute(db);
}

function monthOf(time: Date): Date {
  return new Date(Date.UTC(time.getUTCFullYear(), time.getUTCMonth()));
}

function plusMonths(month: Date, count: number): Date {
  return new Date(Date.UTC(month.getUTCFullYear(), month.getUTCMonth() + count));
}

const tables = [
  'alter table audit_events rename to audit_events_before',
  'alter table audit_events_before rename constraint audit_events_pkey to audit_events_before_pkey',
  'alter index audit_events_by_time rename to audit_events_before_by_time',
  'alter index audit_events_by_client rename to audit_events_before_by_client',
  'alter index audit_events_by_account rename to audit_events_before_by_account',
  // The constraints have the names of the old table's, which becomes a partition of this one.
  `create table audit_events (
    stream uuid not null,
    sequence bigint not null,
    occurred_at timestamptz not null,
    event text not null,
    outcome text not null constraint audit_events_outcome_check check (outcome in ('success', 'refused')),
    actor_type text not null constraint audit_events_actor_type_check
      check (actor_type in ('client', 'account', 'system', 'anonymous')),
    actor_id text,
    account_id text,
    client_id text,
    address text,
    request_id text,
    details jsonb not null,
    primary key (stream, sequence, occurred_at)
  ) partition by range (occurred_at)`,
  'create index audit_events_by_time on audit_events (occurred_at, stream, sequence)',
  'create index audit_events_by_client on audit_events (client_id, occurred_at) where client_id is not null',
  'create index audit_events_by_account on audit_events (account_id, occurred_at) where account_id is not null',
  // Finds a client's JWTs that have not expired yet: the times are texts of one format, which sort correctly.
  `create index audit_events_live_tokens on audit_events
    (client_id, (details->>'expires_at') collate "C", (details->>'jti') collate "C")
    where event = 'token.issued' and details ? 'expires_at'`,

  // 'entries' holds the SHA-256 of each entry from 'first_sequence' on; 'seal' an HMAC that only a node can make.
  // 'checkpoint' is set once, to the number of the checkpoint that names the link, or to 0 if its seal is wrong.
  `create table audit_links (
    stream uuid not null,
    number bigint not null check (number > 0),
    previous bytea check (octet_length(previous) = 32),
    first_sequence bigint not null check (first_sequence > 0),
    begins_at timestamptz not null,
    entries bytea not null check (octet_length(entries) > 0 and octet_length(entries) % 32 = 0),
    seal bytea not null check (octet_length(seal) = 32),
    checkpoint bigint,
    primary key (stream, number, begins_at),
    check ((previous is null) = (number = 1))
  ) partition by range (begins_at)`,
  'create index audit_links_by_entry on audit_links (stream, first_sequence)',
  'create index audit_links_without_checkpoint on audit_links (stream, number) where checkpoint is null',
  `create table audit_checkpoints (
    number bigint not null check (number > 0),
    made_at timestamptz not null,
    jws text not null,
    primary key (number, made_at)
  ) partition by range (made_at)`,
  `create table audit_keys (
    kid text primary key,
    data_key_id text not null references data_keys,
    sealed bytea not null,
    created_at timestamptz not null
  )`,

  `create function refuse_change_of_link() returns trigger language plpgsql as $$
    declare named audit_links := old;
    begin
      named.checkpoint := new.checkpoint;
      if old.checkpoint is null and new = named then return new; end if;
      raise exception 'audit links are appended to, never changed';
    end $$`,
  ...['audit_events', 'audit_checkpoints'].map(
    (table) => `create trigger ${table}_append_only before update or delete on ${table}
      for each row execute function refuse_change()`,
  ),
  `create trigger audit_links_named_once before update on audit_links
    for each row execute function refuse_change_of_link()`,
  `create trigger audit_links_append_only before delete on audit_links
    for each row execute function refuse_change()`,
  ...['audit_events', 'audit_links', 'audit_checkpoints'].map(
    (table) => `create trigger ${table}_never_emptied before truncate on ${table}
      for each statement execute function refuse_change()`,
  ),
];
