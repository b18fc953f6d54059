/** Opens the configured database, or starts the embedded PostgreSQL, and migrates its tables. */
import type pg from 'pg';
import { CannotStart } from '../base/cannot_start.ts';
import type { Interruption } from '../base/interruption.ts';
import { createDatabase, createPool, type Database } from './connection.ts';
import { openExisting, startEmbedded, type Embedded } from './embedded.ts';
import { migrateToLatest } from './migrate.ts';
import { grantToServer } from './roles.ts';
import { withVerifiedTls } from './ssl_mode.ts';
import { reason } from './start_failure.ts';
import { requireSuitableDatabase } from './suitable_database.ts';

export interface OpenSettings extends ConnectSettings {
  /** `undefined`: the embedded PostgreSQL under `dataDir`. */
  readonly databaseUrl: string | undefined;
  /** The URL of the tables' owner, if it is another role than the one in `databaseUrl`. */
  readonly ownerDatabaseUrl?: string | undefined;
  readonly dataDir: string;
  /** Stops the embedded PostgreSQL if the process is told to stop. */
  readonly interruption?: Interruption;
  /** Uses the existing embedded PostgreSQL, running or not, and never creates one. */
  readonly existing?: boolean;
}

export interface ConnectSettings {
  readonly maxConnections: number;
  /** The time limit for getting a connection; by default the pool's. */
  readonly patienceMilliseconds?: number;
  readonly onIdleError: (error: Error) => void;
}

export interface OpenDatabase {
  readonly connectionString: string;
  readonly pool: pg.Pool;
  readonly database: Database;
  /** Resolves if the embedded PostgreSQL ends by itself. Never resolves for another database. */
  readonly lost: Promise<unknown>;
  close(): Promise<void>;
}

/**
 * Opens and migrates the database. Throws `CannotStart` with a sentence that says what to change and has no password in
 * it.
 */
export async function openDatabase(settings: OpenSettings): Promise<OpenDatabase> {
  const embedded = settings.databaseUrl === undefined ? await startFromFolder(settings) : undefined;
  const connectionString = withVerifiedTls(settings.databaseUrl ?? embedded!.url);
  try {
    if (!embedded) await requireSuitableDatabase(connectionString);
    const owner = embedded ? undefined : settings.ownerDatabaseUrl && withVerifiedTls(settings.ownerDatabaseUrl);
    if (owner !== undefined) await requireSuitableDatabase(owner, 'GATEHOUSE_OWNER_DATABASE_URL');
    await migrateToLatest(owner ?? connectionString);
    if (owner !== undefined) await grantToServer(owner, connectionString);
  } catch (error) {
    await embedded?.stop();
    throw error instanceof CannotStart
      ? error
      : new CannotStart(`The database's tables can't be brought up to date: ${reason(error)}`, { cause: error });
  }
  const connected = connectDatabase(connectionString, settings);
  return {
    ...connected,
    lost: embedded?.exited ?? connected.lost,
    async close() {
      await connected.close();
      await embedded?.stop();
    },
  };
}

/** Connects to a database that another process has opened and migrated. */
export function connectDatabase(
  connectionString: string,
  { maxConnections, patienceMilliseconds: connectionTimeoutMilliseconds, onIdleError }: ConnectSettings,
): OpenDatabase {
  const pool = createPool({
    connectionString,
    maxConnections,
    onIdleError,
    ...(connectionTimeoutMilliseconds !== undefined && { connectionTimeoutMilliseconds }),
  });
  return {
    connectionString,
    pool,
    database: createDatabase(pool),
    lost: new Promise(() => {}),
    close: () => pool.end(),
  };
}

async function startFromFolder({ dataDir, existing = false, interruption }: OpenSettings): Promise<Embedded> {
  try {
    return await (existing ? openExisting(dataDir) : startEmbedded(dataDir, [], interruption));
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    // an error with a code is from the file system and concerns the folder; all others are sentences already
    throw new CannotStart(
      code === undefined
        ? message
        : `The data folder ${dataDir} can't be used: ${message}. Set GATEHOUSE_DATA_DIR to one that this user may write to.`,
      { cause: error },
    );
  }
}
