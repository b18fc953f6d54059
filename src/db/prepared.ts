/**
 * Statements that tokens wait for. PostgreSQL takes longer to read and plan one than to carry it out, so each connection
 * has that done a few times at most: by name, as a prepared statement. All other statements have no name, and are planned
 * for the values that they come with.
 */
import { CompiledQuery, type PostgresPool, type PostgresPoolClient, type QueryResult } from 'kysely';
import type pg from 'pg';
import type { Reader, Tx } from './database.ts';
import { Pipeline, sendIn } from './pipeline.ts';

interface Known {
  readonly name: string;
  readonly failure: ((cause: unknown) => unknown) | undefined;
}

const known = new Map<string, Known>();
/** `feature_not_supported`: what a statement answers with is of another type now, which nothing was done for yet. */
const ANOTHER_ANSWER = '0A000';

/**
 * Gives `Row`s; its parameters are `$1` and so on. The columns that it answers with are named one by one: PostgreSQL
 * refuses one whose answer has changed, as `*` does when a migration adds a column while this process runs.
 */
export class PreparedStatement<Row = unknown> {
  readonly #text: string;

  /** `failure` makes the error that its transaction fails with where it was sent without being waited for. */
  constructor(name: string, text: string, failure?: (cause: unknown) => unknown) {
    known.set(text, { name, failure });
    this.#text = text;
  }

  execute(database: Reader, ...parameters: readonly unknown[]): Promise<QueryResult<Row>> {
    return database.executeQuery<Row>(CompiledQuery.raw(this.#text, [...parameters]));
  }

  /** The same without an answer (pipeline.ts). */
  sendIn(tx: Tx, ...parameters: readonly unknown[]): Promise<void> {
    return sendIn(tx, { compile: () => CompiledQuery.raw(this.#text, [...parameters]) });
  }
}

/** The pool as Kysely is to see it: with names for the statements that have one, and with pipelines. */
export function preparing(pool: pg.Pool): PostgresPool {
  const seen = new WeakMap<pg.PoolClient, PostgresPoolClient>();
  return {
    options: pool.options,
    end: () => pool.end(),
    async connect() {
      const client = await pool.connect();
      const given = seen.get(client) ?? prepared(client);
      seen.set(client, given);
      return given;
    },
  };
}

const NOTHING: pg.QueryResult = { command: '', rowCount: 0, oid: 0, fields: [], rows: [] };

function prepared(client: pg.PoolClient): PostgresPoolClient {
  let outdated = false;
  const query = async (text: string, values: unknown[]): Promise<pg.QueryResult> => {
    const name = outdated ? undefined : known.get(text)?.name;
    if (name === undefined) return client.query(text, values);
    try {
      return await client.query({ name, text, values });
    } catch (error) {
      if ((error as { code?: unknown }).code !== ANOTHER_ANSWER) throw error;
      outdated = true;
      return client.query(text, values);
    }
  };
  const pipeline = new Pipeline(query, NOTHING, (text, cause) => known.get(text)?.failure?.(cause) ?? cause);
  return {
    // Kysely would also ask it for a cursor to stream rows; this code never streams
    query: ((text: string, values: unknown[]) =>
      pipeline.query(text, values)) as unknown as PostgresPoolClient['query'],
    release: (error) => client.release(error ?? outdated),
  };
}
