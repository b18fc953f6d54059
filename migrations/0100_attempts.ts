/**
 * Counts attempts that may be guesses (logins, user codes, login hints), running ones separately from wrong ones, and
 * remembers the places of logins. Keys are keyed digests: neither table identifies a person.
 */
import { sql, type Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  for (const statement of statements) await sql.raw(statement).execute(db);
}

const SOON = 'autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000';

const statements = [
  `create table attempt_counters (
    key bytea primary key check (octet_length(key) = 32),
    wrong integer not null check (wrong >= 0),
    under_way integer not null check (under_way >= 0),
    under_way_until timestamptz not null,
    window_ends_at timestamptz not null
  ) with (${SOON}, fillfactor = 80)`,
  'create index attempt_counters_by_end on attempt_counters (window_ends_at)',

  `create table known_logins (
    account bytea not null check (octet_length(account) = 32),
    place bytea not null check (octet_length(place) = 32),
    expires_at timestamptz not null,
    primary key (account, place)
  ) with (${SOON})`,
  'create index known_logins_by_expiry on known_logins (expires_at)',
];
