/**
 * Migrates a database to this version's tables while nodes serve requests. Several nodes may start at once: one
 * migrates, the others wait. Nodes of the previous version keep serving and may be restarted, so a migration adds and
 * never removes what they use. A migration that has to remove something `demands` that nodes know an earlier migration,
 * and nodes that don't are refused. docs/operating.md states the rule, test/faults/rolling_upgrade.test.ts tests it.
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
 * A session that waits for a table's lock blocks all later ones. So a migration waits briefly, then rolls back and
 * tries again.
 */
const LOCK_WAIT_MILLISECONDS = 200;
const LOCK_RETRY_MILLISECONDS = 500;
const LOCK_PATIENCE_MILLISECONDS = 60_000;
/** 55P03 lock not available, 40P01 deadlock. */
const NOT_NOW = /^(55P03|40P01)$/;
/** How long another session may lock the tables of the migrator itself. */
const MIGRATOR_LOCK_WAIT_MILLISECONDS = 1_000;
const MIGRATOR_LOCK_TRIES = 5;
/** 42P07 duplicate table, 42710 object, 42P06 schema, 42723 function. */
const THERE_ALREADY = /^(42P07|42710|42P06|42723)$/;

/** The exports of a file in migrations/. */
interface MigrationFile extends Migration {
  /** The migration that all nodes must know from now on, because this one removes what older versions use. */
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
    await refuseUnknown(database, own, done, lacking);
    if (lacking.length === 0) return;
    const failure = await step(database, own, done);
    if (failure === undefined) continue;
    // another node may have been faster
    if ((await executed(database)).length > done.length) continue;
    const { code, message } = failure.error as { code?: string; message: string };
    if (failure.name === undefined) {
      // another node is migrating; wait until it is done
      if (code === '55P03' && (await isMigratedByAnother(database))) continue;
      throw failure.error;
    }
    if (done.length === 0 && THERE_ALREADY.test(String(code))) {
      throw new CannotStart(
        `The database holds tables of another application: ${message}. Give Gatehouse its own database, or its own schema by the user's search_path.`,
        { cause: failure.error },
      );
    }
    if (!NOT_NOW.test(String(code)) || performance.now() > until) {
      throw new CannotStart(`The migration ${failure.name} failed: ${message}.`, {
        cause: failure.error,
      });
    }
    await delay(LOCK_RETRY_MILLISECONDS * (0.5 + Math.random()));
  }
}

/** The names of the executed migrations, of any version. */
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

/**
 * Accepts a database that a later version has migrated, unless that version demands migrations that this one does not
 * know.
 */
async function refuseUnknown(
  database: Database,
  own: readonly string[],
  done: readonly string[],
  lacking: readonly string[],
): Promise<void> {
  const strange = done.filter((name) => !own.includes(name));
  if (strange.length === 0) return;
  if (strange.length === done.length) {
    throw new CannotStart(
      "The table kysely_migration belongs to another application. Give Gatehouse its own database, or its own schema by the user's search_path.",
    );
  }
  const { rows } = await sql<{ migration: string }>`select migration from migration_demands`.execute(database);
  const unknown = rows.find(({ migration }) => !own.includes(migration));
  if (unknown) {
    throw new CannotStart(
      `The database belongs to a later version of Gatehouse, and this version is too old for it: it doesn't know ${unknown.migration}. Start a later version.`,
    );
  }
  if (lacking.length > 0) {
    throw new CannotStart(
      `The database lacks ${lacking[0]} and has ${strange[0]}, which this version of Gatehouse doesn't know. Start a version that knows both.`,
    );
  }
}

interface Failure {
  /** The failed migration; `undefined` if the failure came before the first one. */
  readonly name: string | undefined;
  readonly error: unknown;
}

/**
 * Runs one migration in its own transaction, so that no lock is held longer than needed. An empty database gets all at
 * once.
 */
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
    return [name, done.includes(name) ? file : withLockLimit(file)];
  });
  // of a later version; the migrator requires all executed migrations
  const strange = done
    .filter((name) => !own.includes(name))
    .map((name): [string, Migration] => [name, { up: () => Promise.resolve() }]);
  return Object.fromEntries([...(await Promise.all(known)), ...strange]);
}

/**
 * A node that is killed during a long statement leaves no lock: PostgreSQL checks each second whether the client is
 * still connected. A server on Windows can't do this and raises an error.
 */
const ENDS_WITH_ITS_NODE = `do $$ begin perform set_config('client_connection_check_interval', '1000', true);
  exception when others then null; end $$`;

/** Adds a time limit for locks, and records what the migration demands of nodes. */
function withLockLimit({ up, demands }: MigrationFile): Migration {
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
