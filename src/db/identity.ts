/**
 * Which database a statement was carried out in. A fail-over, a restore and a plain restart all begin another run of a
 * PostgreSQL server, and a dump that is restored beside running nodes makes another file of the table. What a node
 * remembers of the database holds for the identity that it was read from, and is read anew under another one. Every
 * user may ask for it.
 */
import { sql } from 'kysely';
import type { Reader } from './connection.ts';

/** For statements that are written as text; the time of the server's start comes first, then database and file. */
export const DATABASE_IDENTITY = `(encode(timestamptz_send(pg_postmaster_start_time()), 'hex') || ' '
  || pg_relation_filepath('changes'))`;

/** The same for a statement of Kysely's. */
export const databaseIdentity = sql<string>`${sql.raw(DATABASE_IDENTITY)}`;

/** The identity of the database that answers now. */
export async function readIdentity(database: Reader): Promise<string> {
  const { rows } = await sql<{ identity: string }>`select ${databaseIdentity} as identity`.execute(database);
  return rows[0]!.identity;
}
