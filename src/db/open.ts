/** Opens the database that was configured, or starts the PostgreSQL that npm brought, and brings its tables up to date. */
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
  /** Who owns the tables, where that is another role than the one that `databaseUrl` logs in as. */
  readonly ownerDatabaseUrl?: string | undefined;
  readonly dataDir: string;
  /** Stops the embedded PostgreSQL if this process is told to stop. */
  readonly interruption?: Interruption;
  /** Uses the embedded PostgreSQL that is there, be it running or not, and never makes one. */
  readonly existing?: boolean;
}

export interface ConnectSettings {
  readonly maxConnections: number;
  /** How long to wait for a connection; the pool's own default unless told. */
  readonly patienceMilliseconds?: number;
  readonly onIdleError: (error: Error) => void;
}

export interface OpenDatabase {
  readonly connectionString: string;
  readonly pool: pg.Pool;
  readonly database: Database;
  /** Resolves if the embedded PostgreSQL ends by itself; never, where the database is somebody else's. */
  readonly lost: Promise<unknown>;
  close(): Promise<void>;
}

/** Throws `CannotStart` with a sentence that says what to do, and never with a password in it. */
export async function openDatabase(settings: OpenSettings): Promise<OpenDatabase> {
  const embedded = settings.databaseUrl === undefined ? await start(settings) : undefined;
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

/** For a database that is open already: another process looks after it. */
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

async function start({ dataDir, existing = false, interruption }: OpenSettings): Promise<Embedded> {
  try {
    return await (existing ? openExisting(dataDir) : startEmbedded(dataDir, [], interruption));
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    // what the file system refuses is about the folder; everything else is a sentence already
    throw new CannotStart(
      code === undefined
        ? message
        : `The data folder ${dataDir} can't be used: ${message}. Set GATEHOUSE_DATA_DIR to one that this user may write to.`,
      { cause: error },
    );
  }
}
