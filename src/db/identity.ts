/**
 * Identifies the database that executed a statement. A failover, a restore and a restart each begin another run of the
 * server, and a dump that is restored while nodes run creates another file of the table. A node's memory of the
 * database is valid only for the identity under which it was read. Every database user may read the identity.
 */
import { sql } from 'kysely';
import type { Reader } from './connection.ts';

/** The time of the server's start, then the table's database and file. */
export const databaseIdentity = sql<string>`(to_char(pg_postmaster_start_time() at time zone 'UTC',
  'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || ' ' || pg_relation_filepath('changes'))`;

/** The time of the server's start in an identity. A statement can compare it at no cost. */
export function serverStart(identity: string): string {
  return identity.slice(0, identity.indexOf(' '));
}

/** Reads the identity of the connected database. */
export async function readIdentity(database: Reader): Promise<string> {
  const { rows } = await sql<{ identity: string }>`select ${databaseIdentity} as identity`.execute(database);
  return rows[0]!.identity;
}
