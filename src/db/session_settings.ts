/**
 * The session settings that this code relies on. A server, a database, a role, PGOPTIONS or the URL's `options` may
 * have set others, so one statement sets these on each new connection. It is sent after connecting: a pooler such as
 * PgBouncer refuses most of them as startup parameters.
 */
import type pg from 'pg';

const RELIED_ON: Readonly<Record<string, string>> = {
  // the format of values
  client_encoding: 'UTF8',
  DateStyle: 'ISO, MDY',
  IntervalStyle: 'postgres',
  TimeZone: 'UTC',
  bytea_output: 'hex',
  extra_float_digits: '1',
  standard_conforming_strings: 'on',
  array_nulls: 'on',
  quote_all_identifiers: 'off',
  // the meaning of statements
  transform_null_equals: 'off',
  gin_fuzzy_search_limit: '0',
  default_transaction_isolation: 'read committed',
  default_transaction_deferrable: 'off',
  // 'replica' switches off foreign keys and the triggers that keep the trail append-only
  session_replication_role: 'origin',
  // a policy that hides rows causes an error instead of fewer rows
  row_security: 'off',
  exit_on_error: 'off',
  // time limits, together with those added below
  idle_session_timeout: '0',
  transaction_timeout: '0',
  // limits how long a change can stay uncommitted, which the readers of the change log rely on
  idle_in_transaction_session_timeout: '10000',
  // the plans of prepared statements; no plan here is worth compiling
  plan_cache_mode: 'auto',
  jit: 'off',
};

/** Settings whose values are expressions. */
const COMPUTED: Readonly<Record<string, string>> = {
  // only the first schema of the operator's search path: a schema that appears later can't hide our tables
  search_path: 'pg_catalog.quote_ident(pg_catalog.current_schema())',
  // An acknowledged change is on disk. All values but `off` guarantee that; how many standbys have it is the operator's
  // choice.
  synchronous_commit: `case pg_catalog.current_setting('synchronous_commit') when 'off' then 'on' end`,
};

export interface TimeOuts {
  /** 0: none. */
  readonly statementTimeoutMilliseconds: number;
  /** None by default. */
  readonly lockTimeoutMilliseconds?: number | undefined;
}

/**
 * Returns the statement. It does not set `default_transaction_read_only`: operators, and providers whose disk is full,
 * use it to stop writes. It skips settings that this version of PostgreSQL lacks or that already have their value,
 * because only superusers may set some of them.
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

/** Sets them on a newly opened connection, and destroys the connection if the server doesn't answer in time. */
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
