/** Opens the database that was configured, or starts the PostgreSQL that npm brought, and brings its tables up to date. */
import pg from 'pg';
import { CannotStart } from '../base/cannot_start.ts';
import { createDatabase, createPool, type Database } from './connection.ts';
import { openExisting, startEmbedded, type Embedded } from './embedded.ts';
import { migrateToLatest } from './migrate.ts';

export interface OpenSettings extends ConnectSettings {
  /** `undefined`: the embedded PostgreSQL under `dataDir`. */
  readonly databaseUrl: string | undefined;
  readonly dataDir: string;
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
  const connectionString = settings.databaseUrl ?? embedded!.url;
  try {
    if (!embedded) await reach(connectionString);
    await migrateToLatest(connectionString);
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

async function start({ dataDir, existing = false }: OpenSettings): Promise<Embedded> {
  try {
    return await (existing ? openExisting(dataDir) : startEmbedded(dataDir));
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

async function reach(connectionString: string): Promise<void> {
  const client = createClient(connectionString);
  client.on('error', () => {});
  try {
    await client.connect();
  } catch (error) {
    // a host that begins with a slash is the folder of a socket
    const place = client.host.startsWith('/') ? client.host : `${client.host}:${client.port}`;
    throw new CannotStart(`The database at ${place} can't be reached: ${reason(error)} Check DATABASE_URL.`, {
      cause: error,
    });
  }
  try {
    const { rows } = await client.query<{ version: string }>(`select current_setting('server_version_num') as version`);
    const version = Number(rows[0]?.version);
    if (version < 150_000)
      throw new CannotStart(`The database is PostgreSQL ${Math.floor(version / 10_000)}; Gatehouse needs 15 or later.`);
  } finally {
    await client.end().catch(() => {});
  }
}

/** The driver reads the URL itself, and the files of certificates that it names. */
function createClient(connectionString: string): pg.Client {
  try {
    return new pg.Client({ connectionString, connectionTimeoutMillis: 5_000 });
  } catch (error) {
    throw new CannotStart(`DATABASE_URL can't be used: ${reason(error)}`, { cause: error });
  }
}

/** What the driver said, as the end of a sentence. Some errors carry their reason inside (a host with two addresses). */
function reason(error: unknown): string {
  const inner = error instanceof AggregateError ? (error.errors[0] as unknown) : error;
  const deepest = inner instanceof Error && inner.cause instanceof Error ? inner.cause : inner;
  const message =
    deepest instanceof Error ? deepest.message || String((deepest as { code?: string }).code) : String(deepest);
  return message.endsWith('.') ? message : `${message}.`;
}
