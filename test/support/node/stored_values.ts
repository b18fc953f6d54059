/** What a thief of the database would read: every value of every column of every table, as text. */
import { sql } from 'kysely';
import type { Database } from '../../../src/db/connection.ts';

export interface StoredValue {
  readonly table: string;
  /** Table and column, for a message. */
  readonly where: string;
  /** Bytes as they are, one character each. */
  readonly text: string;
}

export async function everythingStored(database: Database): Promise<StoredValue[]> {
  const tables = await sql<{ name: string }>`select table_name as name from information_schema.tables
    where table_schema = 'public' and table_type = 'BASE TABLE'`.execute(database);
  const values: StoredValue[] = [];
  for (const { name } of tables.rows) {
    const { rows } = await sql<Record<string, unknown>>`select * from ${sql.table(name)}`.execute(database);
    for (const row of rows) {
      for (const [column, value] of Object.entries(row)) {
        if (value !== null) values.push({ table: name, where: `${name}.${column}`, text: textOf(value) });
      }
    }
  }
  return values;
}

function textOf(value: unknown): string {
  if (Buffer.isBuffer(value)) return value.toString('latin1');
  return typeof value === 'string' ? value : JSON.stringify(value);
}
