/** The database: Kysely over a bounded pool of connections with time-outs. */
import { Kysely, PostgresDialect } from 'kysely';
import pg from 'pg';
import { Unavailable } from '../base/unavailable.ts';
import type { Database } from './database.ts';
import { LOCK_TIMEOUT_MILLISECONDS } from './pipeline.ts';
import { preparing } from './prepared.ts';
import { applySessionSettings, sessionSettings } from './session_settings.ts';
import type { Tables } from './tables.ts';

export type { Database, Reader, Tx } from './database.ts';

export interface PoolSettings {
  readonly connectionString: string;
  readonly maxConnections: number;
  /** 5,000 by default; 0 is no limit, for migrations. */
  readonly statementTimeoutMilliseconds?: number;
  /** How long a statement may wait for a lock; 1,500 by default. */
  readonly lockTimeoutMilliseconds?: number;
  /** How long to wait for a connection; 2,000 by default. */
  readonly connectionTimeoutMilliseconds?: number;
  /** Called for connections that break while idle. Without a listener, pg would end the process. */
  readonly onIdleError: (error: Error) => void;
}

const INT8 = 20;
/** Sequences and counts fit a double for some hundred thousand years; a string would compare wrongly. */
const types: pg.CustomTypesConfig = {
  getTypeParser: ((oid: number, format?: 'text') =>
    oid === INT8 ? Number : pg.types.getTypeParser(oid, format)) as typeof pg.types.getTypeParser,
};

const STATEMENT_TIMEOUT_MILLISECONDS = 5_000;
const CONNECTION_TIMEOUT_MILLISECONDS = 2_000;
/** For connections outside of pools, for which no request waits. */
const OWN_CONNECTION_TIMEOUT_MILLISECONDS = 8_000;

export function createPool(settings: PoolSettings): pg.Pool {
  const { connectionString, maxConnections, onIdleError } = settings;
  const { statementTimeoutMilliseconds = STATEMENT_TIMEOUT_MILLISECONDS } = settings;
  const { connectionTimeoutMilliseconds = CONNECTION_TIMEOUT_MILLISECONDS } = settings;
  // a statement that waits longer for a lock would be too late for its request
  const { lockTimeoutMilliseconds = Math.min(LOCK_TIMEOUT_MILLISECONDS, statementTimeoutMilliseconds) } = settings;
  const session = sessionSettings({ statementTimeoutMilliseconds, lockTimeoutMilliseconds });
  const options: pg.PoolConfig = {
    connectionString,
    max: maxConnections,
    connectionTimeoutMillis: connectionTimeoutMilliseconds,
    // the client's own limit, for a server that does not answer at all
    ...(statementTimeoutMilliseconds > 0 && { query_timeout: statementTimeoutMilliseconds + 1_000 }),
    application_name: 'gatehouse',
    // statements whose results are not needed share a round trip (pipeline.ts)
    pipeline: true,
    types,
  };
  // The pool awaits `onConnect` before it gives out the connection and passes on a failure, which its types don't
  // declare.
  const onConnect = (client: pg.ClientBase): Promise<void> =>
    applySessionSettings(client, session, connectionTimeoutMilliseconds);
  const pool = new pg.Pool(Object.assign(options, { onConnect }));
  pool.on('error', onIdleError);
  // A connection that breaks in use rejects its query. Without this listener, its event would end the process.
  pool.on('connect', (client) => client.on('error', () => {}));
  return pool;
}

/** Creates a client outside of every pool, not connected yet. */
export function createClient(connectionString: string, applicationName = 'gatehouse'): pg.Client {
  return new pg.Client({
    connectionString,
    application_name: applicationName,
    connectionTimeoutMillis: OWN_CONNECTION_TIMEOUT_MILLISECONDS,
  });
}

/** Connects the client, with the same session settings as a pool's. */
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

/** A text has characters that PostgreSQL can't store, such as a NUL in a request's parameter. */
export class Unstorable extends Error {}

/**
 * Serializes the value as a JSON parameter, because pg would write an array as a Postgres array. Throws `Unstorable`
 * for text with a NUL or half a surrogate pair, which JSON can express and jsonb can't.
 */
export function json(value: unknown): string {
  return storableJson(JSON.stringify(value));
}

/** The same for text that is JSON already. */
export function storableJson(text: string): string {
  // JSON.stringify escapes both, and escapes a backslash that precedes a literal `u`
  if (/(?<!\\)(?:\\\\)*\\u(?:0000|d[89a-f]..)/.test(text))
    throw new Unstorable('The text has characters that can not be stored.');
  return text;
}

/** Replaces the characters that PostgreSQL can't store, for text that is kept as a record and never returned. */
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

/** No connection could be got. No statement was sent, so nothing was executed. */
export class NoConnection extends Unavailable {}

/**
 * Whether an error says that the whole database is away: gone, restarting, out of connections, read-only, its disk
 * full. The statement may have been executed all the same.
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
 * Whether an error says that PostgreSQL rolled back this transaction because it conflicted with another one, so that it
 * may run again at once. 40001 serialization failure, 40P01 deadlock
 */
export function gaveWay(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  return /^(40001|40P01)$/.test(String((error as { code?: unknown }).code)) || gaveWay(error.cause);
}

/**
 * Whether an error says that the database can't serve now (away, or not in time), and not that the statement is wrong.
 */
export function isUnavailable(error: unknown): boolean {
  return error instanceof Unavailable || isAway(error) || gaveWay(error) || isLate(error);
}

/** Whether an error says that a statement, or its wait for a lock, timed out. */
export function isLate(error: unknown): boolean {
  // 57014 statement timeout, 55P03 lock timeout
  return error instanceof Error && /^(57014|55P03)$/.test(String((error as { code?: unknown }).code));
}
