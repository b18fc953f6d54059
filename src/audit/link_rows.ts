/** Converts links between their database rows and the form that is hashed. */
import { sql, type RawBuilder } from 'kysely';
import { HASH_BYTES, type Link } from './chain.ts';

/** A link, and the columns that its hash does not cover. */
export interface StoredLink {
  readonly link: Link;
  readonly seal: Buffer;
  readonly checkpoint: number | null;
}

export interface LinkRow {
  readonly stream: string;
  readonly number: number;
  readonly previous: Buffer | null;
  readonly first_sequence: number;
  readonly begins_at: string;
  readonly entries: Buffer;
  readonly seal: Buffer;
  readonly checkpoint: number | null;
}

/** The columns of `LinkRow`. */
export const linkColumns: RawBuilder<unknown> = sql`l.stream, l.number, l.previous, l.first_sequence,
  ${exactTime('l.begins_at')} as begins_at, l.entries, l.seal, l.checkpoint`;

export function storedLink(row: LinkRow): StoredLink {
  const link = {
    stream: row.stream,
    number: row.number,
    previous: row.previous && row.previous.toString('base64url'),
    first: row.first_sequence,
    begins_at: withoutMicroseconds(row.begins_at),
    entries: hashesOf(row.entries),
  };
  return { link, seal: row.seal, checkpoint: row.checkpoint };
}

/** A time with the microseconds that the database holds. `Date` would hide a change of them. */
export function exactTime(column: string): RawBuilder<string> {
  return sql`to_char(${sql.ref(column)} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`;
}

/** The time in milliseconds, as it was hashed. */
export function withoutMicroseconds(time: string): string {
  return time.replace(/(\.\d{3})000Z$/, '$1Z');
}

function hashesOf(entries: Buffer): string[] {
  const hashes: string[] = [];
  for (let at = 0; at < entries.length; at += HASH_BYTES) {
    hashes.push(entries.subarray(at, at + HASH_BYTES).toString('base64url'));
  }
  return hashes;
}
