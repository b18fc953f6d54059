/**
 * Brings a database to this version's tables, under traffic. Any number of nodes may do it at once: one migrates, the
 * others wait. Nodes of the version before go on serving meanwhile and afterwards, and may be started again, so a
 * migration adds and never takes away what they use; one that has to `demands` that nodes know an earlier one, and
 * nodes that don't are refused. docs/operating.md has the rule, test/faults/rolling_upgrade.test.ts does the thing.
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { sql } from 'kysely';
import { Migrator, type Migration } from 'kysely/migration';
import { CannotStart } from '../base/cannot_start.ts';
import { createDatabase, createPool, type Database } from './connection.ts';

const FOLDER = join(import.meta.dirname, '../../migrations');

/**
 * Whoever waits for a table's lock holds up all who come later, so a migration doesn't wait: it gives everything back
 * and comes again.
 */
const LOCK_WAIT_MILLISECONDS = 200;
const LOCK_RETRY_MILLISECONDS = 500;
const LOCK_PATIENCE_MILLISECONDS = 60_000;
/** 55P03 lock not available, 40P01 deadlock. */
const NOT_NOW = /^(55P03|40P01)$/;
/** How long the tables of the migrator itself may be locked by another session. */
const MIGRATOR_LOCK_WAIT_MILLISECONDS = 1_000;
const MIGRATOR_LOCK_TRIES = 5;
/** 42P07 a table, 42710 another object, 42P06 a schema, 42723 a function that is there already. */
const THERE_ALREADY = /^(42P07|42710|42P06|42723)$/;

/** What a file of migrations/ exports. */
interface MigrationFile extends Migration {
  /** The migration that nodes have to know from now on: what those before it use is taken away here. */
  readonly demands?: string;
}

export async function migrateToLatest(connectionString: string): Promise<void> {
  const pool = createPool({
    connectionString,
    maxConnections: 2,
    statementTimeoutMilliseconds: 0,
    lockTimeoutMilliseconds: MIGRATOR_LOCK_WAIT_MILLISECONDS,
    onIdleError: () => {},
  });
  const database = createDatabase(pool);
  try {
    await migrate(database);
  } finally {
    await database.destroy();
  }
}

async function migrate(database: Database): Promise<void> {
  const own = (await readdir(FOLDER))
    .filter((name) => name.endsWith('.ts'))
    .map((name) => name.replace('.ts', ''))
    .sort();
  const until = performance.now() + LOCK_PATIENCE_MILLISECONDS;
  for (;;) {
    const done = await executed(database);
    const lacking = own.filter((name) => !done.includes(name));
    await refuseStrange(database, own, done, lacking);
    if (lacking.length === 0) return;
    const failure = await step(database, own, done);
    if (failure === undefined) continue;
    // another node may have been quicker
    if ((await executed(database)).length > done.length) continue;
    const { code, message } = failure.error as { code?: string; message: string };
    if (failure.name === undefined) {
      // another node migrates, for as long as that takes
      if (code === '55P03' && (await isMigratedByAnother(database))) continue;
      throw failure.error;
    }
    if (done.length === 0 && THERE_ALREADY.test(String(code))) {
      throw new CannotStart(
        `The database holds tables of another application: ${message}. Give Gatehouse a database of its own, or a schema by the user's search_path.`,
        { cause: failure.error },
      );
    }
    if (!NOT_NOW.test(String(code)) || performance.now() > until) {
      throw new CannotStart(`The database lacks ${failure.name}, which can't be carried out: ${message}.`, {
        cause: failure.error,
      });
    }
    await delay(LOCK_RETRY_MILLISECONDS * (0.5 + Math.random()));
  }
}

/** Which were carried out, by whatever version. */
async function executed(database: Database): Promise<readonly string[]> {
  if (!(await exists(database, 'kysely_migration'))) return [];
  for (let tried = 1; ; tried++) {
    try {
      const { rows } = await sql<{ name: string }>`select name from kysely_migration order by name`.execute(database);
      return rows.map(({ name }) => name);
    } catch (error) {
      if (!NOT_NOW.test(String((error as { code?: unknown }).code))) throw error;
      if (tried < MIGRATOR_LOCK_TRIES) continue;
      throw new CannotStart(
        'The table kysely_migration has been locked by another session for too long: pg_locks shows which.',
        { cause: error },
      );
    }
  }
}

/** Whether a session holds an advisory lock in this database, as the migrator does. */
async function isMigratedByAnother(database: Database): Promise<boolean> {
  const { rows } = await sql<{ held: boolean }>`select exists (select from pg_locks where locktype = 'advisory'
    and granted and database = (select oid from pg_database where datname = current_database())) as held`.execute(
    database,
  );
  return rows[0]?.held === true;
}

/** A database that a later version has brought forward is fine, unless that version says that we are too old for it. */
async function refuseStrange(
  database: Database,
  own: readonly string[],
  done: readonly string[],
  lacking: readonly string[],
): Promise<void> {
  const strange = done.filter((name) => !own.includes(name));
  if (strange.length === 0) return;
  if (strange.length === done.length) {
    throw new CannotStart(
      "The table kysely_migration belongs to another application. Give Gatehouse a database of its own, or a schema by the user's search_path.",
    );
  }
  const { rows } = await sql<{ migration: string }>`select migration from migration_demands`.execute(database);
  const unknown = rows.find(({ migration }) => !own.includes(migration));
  if (unknown) {
    throw new CannotStart(
      `The database belongs to a later version of Gatehouse, and this one is too old for it: it doesn't know ${unknown.migration}. Start a later version.`,
    );
  }
  if (lacking.length > 0) {
    throw new CannotStart(
      `The database lacks ${lacking[0]} and has ${strange[0]}, which this version of Gatehouse doesn't know. Start a version that knows both.`,
    );
  }
}

interface Failure {
  /** Which failed; `undefined`: it didn't come to that. */
  readonly name: string | undefined;
  readonly error: unknown;
}

/** One migration in a transaction of its own, so that no lock is held longer than it needs; an empty database takes all at once. */
async function step(database: Database, own: readonly string[], done: readonly string[]): Promise<Failure | undefined> {
  const provider = { getMigrations: () => load(own, done) };
  const migrator = new Migrator({ db: database, provider, allowUnorderedMigrations: true });
  const { error, results = [] } = await (done.length === 0 ? migrator.migrateToLatest() : migrator.migrateUp());
  if (error === undefined) return undefined;
  return { name: results.find(({ status }) => status === 'Error')?.migrationName, error };
}

async function load(own: readonly string[], done: readonly string[]): Promise<Record<string, Migration>> {
  const known = own.map(async (name): Promise<[string, Migration]> => {
    const file = (await import(join(FOLDER, `${name}.ts`))) as MigrationFile;
    return [name, done.includes(name) ? file : hurried(file)];
  });
  // of a later version; the migrator wants to see all that were carried out
  const strange = done
    .filter((name) => !own.includes(name))
    .map((name): [string, Migration] => [name, { up: () => Promise.resolve() }]);
  return Object.fromEntries([...(await Promise.all(known)), ...strange]);
}

/**
 * A node that is killed during a long statement leaves no lock behind: PostgreSQL looks each second whether the node is
 * still there. A server on Windows can't, and says so.
 */
const ENDS_WITH_ITS_NODE = `do $$ begin perform set_config('client_connection_check_interval', '1000', true);
  exception when others then null; end $$`;

/** With a bound on how long it waits for others, and what it demands of nodes on record. */
function hurried({ up, demands }: MigrationFile): Migration {
  return {
    async up(database) {
      await sql`set local lock_timeout = ${sql.lit(LOCK_WAIT_MILLISECONDS)}`.execute(database);
      await sql.raw(ENDS_WITH_ITS_NODE).execute(database);
      await up(database);
      if (demands === undefined) return;
      await sql`insert into migration_demands (migration) values (${demands}) on conflict do nothing`.execute(database);
    },
  };
}

async function exists(database: Database, table: string): Promise<boolean> {
  const { rows } = await sql<{ found: boolean }>`select to_regclass(${table}) is not null as found`.execute(database);
  return rows[0]?.found === true;
}
