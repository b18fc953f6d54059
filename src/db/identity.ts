/**
 * Which database a statement was carried out in. A fail-over, a restore and a plain restart all begin another run of a
 * PostgreSQL server, and a dump that is restored beside running nodes makes another file of the table. What a node
 * remembers of the database holds for the identity that it was read from, and is read anew under another one. Every
 * user may ask for it.
 */
import { sql } from 'kysely';
import type { Reader } from './connection.ts';

/** The time of the server's start, then the table's database and file. */
export const databaseIdentity = sql<string>`(to_char(pg_postmaster_start_time() at time zone 'UTC',
  'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || ' ' || pg_relation_filepath('changes'))`;

/** The time of the server's start that an identity names, which costs a statement nothing to compare. */
export function serverStart(identity: string): string {
  return identity.slice(0, identity.indexOf(' '));
}

/** The identity of the database that answers now. */
export async function readIdentity(database: Reader): Promise<string> {
  const { rows } = await sql<{ identity: string }>`select ${databaseIdentity} as identity`.execute(database);
  return rows[0]!.identity;
}
