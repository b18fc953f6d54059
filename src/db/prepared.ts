/**
 * Statements that tokens wait for. PostgreSQL takes longer to read and plan one than to carry it out, so each connection
 * has that done a few times at most: by name, as a prepared statement. All other statements have no name, and are planned
 * for the values that they come with.
 */
import { CompiledQuery, type PostgresPool, type PostgresPoolClient, type QueryResult } from 'kysely';
import type pg from 'pg';
import type { Reader } from './connection.ts';

const names = new Map<string, string>();
/** `feature_not_supported`: what a statement answers with is of another type now, which nothing was done for yet. */
const ANOTHER_ANSWER = '0A000';

/**
 * Gives `Row`s; its parameters are `$1` and so on. The columns that it answers with are named one by one: PostgreSQL
 * refuses one whose answer has changed, as `*` does when a migration adds a column while this process runs.
 */
export class PreparedStatement<Row = unknown> {
  readonly #text: string;

  constructor(name: string, text: string) {
    names.set(text, name);
    this.#text = text;
  }

  execute(database: Reader, ...parameters: readonly unknown[]): Promise<QueryResult<Row>> {
    return database.executeQuery<Row>(CompiledQuery.raw(this.#text, [...parameters]));
  }
}

/** The pool as Kysely is to see it: with names for the statements that have one. */
export function preparing(pool: pg.Pool): PostgresPool {
  const seen = new WeakMap<pg.PoolClient, PostgresPoolClient>();
  return {
    options: pool.options,
    end: () => pool.end(),
    async connect() {
      const client = await pool.connect();
      const known = seen.get(client);
      if (known) return known;
      let outdated = false;
      const query = async (text: string, values: unknown[]): Promise<pg.QueryResult> => {
        const name = outdated ? undefined : names.get(text);
        if (name === undefined) return client.query(text, values);
        try {
          return await client.query({ name, text, values });
        } catch (error) {
          if ((error as { code?: unknown }).code !== ANOTHER_ANSWER) throw error;
          outdated = true;
          return client.query(text, values);
        }
      };
      const given: PostgresPoolClient = {
        // which Kysely would ask for a cursor, too, where somebody streams: nobody does
        query: query as unknown as PostgresPoolClient['query'],
        release: (error) => client.release(error ?? outdated),
      };
      seen.set(client, given);
      return given;
    },
  };
}
