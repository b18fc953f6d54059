/** Brings a database to this version's tables. Safe to run from any number of nodes at once: one migrates, the others wait. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Migrator, type Migration, type MigrationProvider } from 'kysely/migration';
import { createDatabase, createPool, type Database } from './connection.ts';

const FOLDER = join(import.meta.dirname, '../../migrations');

const migrations: MigrationProvider = {
  async getMigrations() {
    const files = (await readdir(FOLDER)).filter((name) => name.endsWith('.ts')).sort();
    const loaded = await Promise.all(
      files.map(async (file): Promise<[string, Migration]> => [
        file.replace('.ts', ''),
        (await import(join(FOLDER, file))) as Migration,
      ]),
    );
    return Object.fromEntries(loaded);
  },
};

/** Runs what has not run yet and returns the names of what it ran; throws with the failed migration's name. */
async function migrate(database: Database): Promise<readonly string[]> {
  const { error, results = [] } = await new Migrator({ db: database, provider: migrations }).migrateToLatest();
  if (error !== undefined) {
    const failed = results.find((result) => result.status === 'Error')?.migrationName;
    throw new Error(failed ? `Migration ${failed} failed.` : 'Migration could not start.', { cause: error });
  }
  return results.map((result) => result.migrationName);
}

export async function migrateToLatest(connectionString: string): Promise<void> {
  const pool = createPool({
    connectionString,
    maxConnections: 2,
    statementTimeoutMilliseconds: 0,
    onIdleError: () => {},
  });
  const database = createDatabase(pool);
  try {
    await migrate(database);
  } finally {
    await database.destroy();
  }
}
