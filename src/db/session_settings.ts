/**
 * The settings of a connection that this code relies on. A server, a database, a role, PGOPTIONS or the URL's `options`
 * may have set others, so each new connection is told these in one statement. They are sent after connecting: a pooler
 * such as PgBouncer refuses most of them as startup parameters.
 */
import type pg from 'pg';

const RELIED_ON: Readonly<Record<string, string>> = {
  // what values look like on their way here and back
  client_encoding: 'UTF8',
  DateStyle: 'ISO, MDY',
  IntervalStyle: 'postgres',
  TimeZone: 'UTC',
  bytea_output: 'hex',
  extra_float_digits: '1',
  standard_conforming_strings: 'on',
  array_nulls: 'on',
  quote_all_identifiers: 'off',
  // what statements mean
  transform_null_equals: 'off',
  gin_fuzzy_search_limit: '0',
  default_transaction_isolation: 'read committed',
  default_transaction_deferrable: 'off',
  // 'replica' switches off the triggers that keep the trail append-only, and foreign keys
  session_replication_role: 'origin',
  // a policy that hides rows is an error, not fewer rows
  row_security: 'off',
  exit_on_error: 'off',
  // how long things may take, with what is added below
  idle_session_timeout: '0',
  transaction_timeout: '0',
  // bounds how long a change can stay uncommitted, which the readers of the change log rely on
  idle_in_transaction_session_timeout: '10000',
  // the plans of prepared statements, and none that are worth compiling
  plan_cache_mode: 'auto',
  jit: 'off',
};

/** Expressions instead of values. */
const COMPUTED: Readonly<Record<string, string>> = {
  // the schema that the operator's search path leads to, and no other: a schema that appears later can't hide our tables
  search_path: 'pg_catalog.quote_ident(pg_catalog.current_schema())',
  // An acknowledged change is on disk. All other values see to that; how many standbys have it is the operator's choice.
  synchronous_commit: `case pg_catalog.current_setting('synchronous_commit') when 'off' then 'on' end`,
};

export interface TimeOuts {
  /** 0: none. */
  readonly statementTimeoutMilliseconds: number;
  /** None, unless told. */
  readonly lockTimeoutMilliseconds?: number | undefined;
}

/**
 * The statement. `default_transaction_read_only` is left alone: operators, and providers whose disk is full, say with it
 * that nothing may be written. Settings that this version of PostgreSQL lacks, or that have their value already, are
 * left out: some may be set by superusers alone.
 */
export function sessionSettings({ statementTimeoutMilliseconds, lockTimeoutMilliseconds = 0 }: TimeOuts): string {
  const values = {
    ...RELIED_ON,
    statement_timeout: String(statementTimeoutMilliseconds),
    lock_timeout: String(lockTimeoutMilliseconds),
  };
  const rows = [
    ...Object.entries(values).map(([name, value]) => `('${name}', '${value}')`),
    ...Object.entries(COMPUTED).map(([name, expression]) => `('${name}', ${expression})`),
  ];
  return `select pg_catalog.set_config(name, value, false) from (values ${rows.join(', ')}) as relied_on (name, value)
    where pg_catalog.current_setting(name, true) <> value`;
}

/** Sets them on a connection that has just been opened; a server that doesn't answer in time is cut off. */
export async function applySessionSettings(
  client: pg.ClientBase,
  settings: string,
  patienceMilliseconds: number,
): Promise<void> {
  const { stream } = (client as pg.Client).connection;
  const late = setTimeout(() => stream.destroy(), patienceMilliseconds);
  try {
    await client.query(settings);
  } finally {
    clearTimeout(late);
  }
}
