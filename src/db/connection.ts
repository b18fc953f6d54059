/** The database as every room sees it: Kysely over a bounded pool of connections with time-outs. */
import { Kysely, PostgresDialect } from 'kysely';
import pg from 'pg';
import { Unavailable } from '../base/unavailable.ts';
import type { Database } from './database.ts';
import { preparing } from './prepared.ts';
import { applySessionSettings, sessionSettings } from './session_settings.ts';
import type { Tables } from './tables.ts';

export type { Database, Reader, Tx } from './database.ts';

export interface PoolSettings {
  readonly connectionString: string;
  readonly maxConnections: number;
  /** 5,000 unless told; 0 is no limit, for migrations. */
  readonly statementTimeoutMilliseconds?: number;
  /** How long a statement may wait for what others have locked; 2,000 unless told, and without limit for migrations. */
  readonly lockTimeoutMilliseconds?: number;
  /** How long to wait for a connection; 2,000 unless told. */
  readonly connectionTimeoutMilliseconds?: number;
  /** Hears of connections that break while idle. Without a listener pg would end the process. */
  readonly onIdleError: (error: Error) => void;
}

const INT8 = 20;
/** Sequences and counts fit a double for some hundred thousand years; a string would compare wrongly. */
const types: pg.CustomTypesConfig = {
  getTypeParser: ((oid: number, format?: 'text') =>
    oid === INT8 ? Number : pg.types.getTypeParser(oid, format)) as typeof pg.types.getTypeParser,
};

const STATEMENT_TIMEOUT_MILLISECONDS = 5_000;
const LOCK_TIMEOUT_MILLISECONDS = 2_000;
const CONNECTION_TIMEOUT_MILLISECONDS = 2_000;
/** For connections outside of pools, which no request waits for. */
const OWN_CONNECTION_TIMEOUT_MILLISECONDS = 8_000;

export function createPool(settings: PoolSettings): pg.Pool {
  const { connectionString, maxConnections, onIdleError } = settings;
  const { statementTimeoutMilliseconds = STATEMENT_TIMEOUT_MILLISECONDS } = settings;
  const { connectionTimeoutMilliseconds = CONNECTION_TIMEOUT_MILLISECONDS } = settings;
  // what waits for so long would be too late for its request, which has waited before and may wait again
  const { lockTimeoutMilliseconds = Math.min(LOCK_TIMEOUT_MILLISECONDS, statementTimeoutMilliseconds) } = settings;
  const session = sessionSettings({ statementTimeoutMilliseconds, lockTimeoutMilliseconds });
  const options: pg.PoolConfig = {
    connectionString,
    max: maxConnections,
    connectionTimeoutMillis: connectionTimeoutMilliseconds,
    // the client's own limit, for when the server doesn't answer at all
    ...(statementTimeoutMilliseconds > 0 && { query_timeout: statementTimeoutMilliseconds + 1_000 }),
    application_name: 'gatehouse',
    // statements that need no answer share a round trip (pipeline.ts)
    pipeline: true,
    types,
  };
  // The pool awaits it before it gives the connection out, which its types don't say, and passes a failure on.
  const onConnect = (client: pg.ClientBase): Promise<void> =>
    applySessionSettings(client, session, connectionTimeoutMilliseconds);
  const pool = new pg.Pool(Object.assign(options, { onConnect }));
  pool.on('error', onIdleError);
  // One that breaks in use rejects its query, which is how we hear of it; unheard, its event would end the process.
  pool.on('connect', (client) => client.on('error', () => {}));
  return pool;
}

/** A connection outside of every pool, not open yet. */
export function createClient(connectionString: string, applicationName = 'gatehouse'): pg.Client {
  return new pg.Client({
    connectionString,
    application_name: applicationName,
    connectionTimeoutMillis: OWN_CONNECTION_TIMEOUT_MILLISECONDS,
  });
}

/** Opens it, with the same settings as a pool's. */
export async function connectClient(client: pg.Client): Promise<void> {
  await client.connect();
  const session = sessionSettings({
    statementTimeoutMilliseconds: STATEMENT_TIMEOUT_MILLISECONDS,
    lockTimeoutMilliseconds: LOCK_TIMEOUT_MILLISECONDS,
  });
  await applySessionSettings(client, session, OWN_CONNECTION_TIMEOUT_MILLISECONDS);
}

export function createDatabase(pool: pg.Pool): Database {
  return new Kysely<Tables>({ dialect: new PostgresDialect({ pool: preparing(pool) }) });
}

/** Text that Postgres can't hold, such as a NUL in a request's parameter. */
export class Unstorable extends Error {}

/**
 * The value as a JSON parameter: pg would write an array as a Postgres array. Throws `Unstorable` for text with a NUL
 * or half a surrogate pair, which JSON can express and jsonb can't.
 */
export function json(value: unknown): string {
  return storableJson(JSON.stringify(value));
}

/** The same for text that is JSON already. */
export function storableJson(text: string): string {
  // JSON.stringify escapes both, and escapes a backslash before a `u` that was there already
  if (/(?<!\\)(?:\\\\)*\\u(?:0000|d[89a-f]..)/.test(text))
    throw new Unstorable('The text has characters that can not be stored.');
  return text;
}

/** The same text with what Postgres can't hold replaced, for what is kept as a record and given back to nobody. */
export function storable(text: string): string {
  return text.toWellFormed().replaceAll('\0', '\u{FFFD}');
}

const CONNECTION_LOST = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ENOENT',
  'ETIMEDOUT',
  'ENOTFOUND',
  'EAI_AGAIN',
]);
const CONNECTION_LOST_MESSAGE = /timeout exceeded|Connection terminated|Query read timeout|not queryable/;

/** There is no connection to be had: nothing was asked yet, so nothing was done. */
export class NoConnection extends Unavailable {}

/**
 * Whether an error says that the database is away as a whole: gone, restarting, out of connections, read-only, its disk
 * full. What was asked may have been done all the same.
 */
export function isAway(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  if (error instanceof NoConnection) return true;
  const code = (error as { code?: unknown }).code;
  // 08 connection, 53 resources, 57P shutdown, 25006 read-only
  if (typeof code === 'string') return CONNECTION_LOST.has(code) || /^(08|53|57P|25006)/.test(code);
  return CONNECTION_LOST_MESSAGE.test(error.message);
}

/**
 * Whether an error says that two transactions met in the wrong order and this one had to give way: nothing of it was
 * done, and it may come again at once. 40001 serialization failure, 40P01 deadlock
 */
export function gaveWay(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  return /^(40001|40P01)$/.test(String((error as { code?: unknown }).code)) || gaveWay(error.cause);
}

/** Whether an error says that the database can't serve now (away, or not in time), not that we asked wrongly. */
export function isUnavailable(error: unknown): boolean {
  return error instanceof Unavailable || isAway(error) || gaveWay(error) || isLate(error);
}

/** Whether an error says that the database took too long for a statement, or for a lock that it needs. */
export function isLate(error: unknown): boolean {
  // 57014 statement timeout, 55P03 lock timeout
  return error instanceof Error && /^(57014|55P03)$/.test(String((error as { code?: unknown }).code));
}
