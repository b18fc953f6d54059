/**
 * Prepared statements for token requests. PostgreSQL takes longer to parse and plan such a statement than to execute
 * it, so each connection prepares it by name and plans it a few times at most. All other statements have no name and
 * are planned for their values.
 */
import { CompiledQuery, type PostgresPool, type PostgresPoolClient, type QueryResult } from 'kysely';
import type pg from 'pg';
import type { Reader, Tx } from './database.ts';
import { Pipeline, sendIn } from './pipeline.ts';

interface Registered {
  readonly name: string;
  readonly failure: ((cause: unknown) => unknown) | undefined;
}

const registered = new Map<string, Registered>();
/** `feature_not_supported`: the result type of a prepared statement has changed. PostgreSQL has not executed it. */
const RESULT_TYPE_CHANGED = '0A000';

/**
 * A statement with the parameters `$1` and so on that returns `Row`s. List its result columns one by one: PostgreSQL
 * refuses a prepared statement whose result type has changed, as that of `*` does when a migration adds a column.
 */
export class PreparedStatement<Row = unknown> {
  readonly #text: string;

  /** `failure` creates the error of the transaction if the statement was sent by `sendIn` and failed. */
  constructor(name: string, text: string, failure?: (cause: unknown) => unknown) {
    registered.set(text, { name, failure });
    this.#text = text;
  }

  execute(database: Reader, ...parameters: readonly unknown[]): Promise<QueryResult<Row>> {
    return database.executeQuery<Row>(CompiledQuery.raw(this.#text, [...parameters]));
  }

  /** Sends the statement in a transaction without waiting for a result (pipeline.ts). */
  sendIn(tx: Tx, ...parameters: readonly unknown[]): Promise<void> {
    return sendIn(tx, { compile: () => CompiledQuery.raw(this.#text, [...parameters]) });
  }
}

/** Wraps the pool for Kysely: statements with a name are prepared, and statements of a transaction are pipelined. */
export function preparing(pool: pg.Pool): PostgresPool {
  const wrapped = new WeakMap<pg.PoolClient, PostgresPoolClient>();
  return {
    options: pool.options,
    end: () => pool.end(),
    async connect() {
      const client = await pool.connect();
      const preparedClient = wrapped.get(client) ?? prepared(client);
      wrapped.set(client, preparedClient);
      return preparedClient;
    },
  };
}

const NOTHING: pg.QueryResult = { command: '', rowCount: 0, oid: 0, fields: [], rows: [] };

function prepared(client: pg.PoolClient): PostgresPoolClient {
  let outdated = false;
  const query = async (text: string, values: unknown[]): Promise<pg.QueryResult> => {
    const name = outdated ? undefined : registered.get(text)?.name;
    if (name === undefined) return client.query(text, values);
    try {
      return await client.query({ name, text, values });
    } catch (error) {
      if ((error as { code?: unknown }).code !== RESULT_TYPE_CHANGED) throw error;
      outdated = true;
      return client.query(text, values);
    }
  };
  const pipeline = new Pipeline(query, NOTHING, (text, cause) => registered.get(text)?.failure?.(cause) ?? cause);
  return {
    // Kysely also calls `query` with a cursor to stream rows; this code never streams
    query: ((text: string, values: unknown[]) =>
      pipeline.query(text, values)) as unknown as PostgresPoolClient['query'],
    release: (error) => client.release(error ?? outdated),
  };
}
