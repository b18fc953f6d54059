/**
 * Cursors encrypt the position where a page ended, and bind it to the list and its filters. A caller can neither read
 * nor forge one, and a cursor of one list does not work for another.
 */
import { z } from 'zod';
import { invalid } from '../base/refusal.ts';
import type { Vault } from '../vault/vault.ts';
import { decimal } from './shared_members.ts';

/** The list that a caller requests. A cursor is valid for the same name with the same filters. */
export interface List {
  readonly name: string;
  readonly filters?: Readonly<Record<string, string | undefined>>;
}

/** The values of the sort columns in the last row of a page. */
export type Position = Readonly<Record<string, string>>;

export interface Rows<Row, View> {
  /** Up to `limit` + 1 rows; the extra row shows that there is another page. */
  readonly rows: readonly Row[];
  readonly limit: number;
  readonly position: (row: Row) => Position;
  readonly view: (row: Row) => View;
}

export interface Page<View> {
  readonly items: View[];
  readonly next_cursor?: string;
}

/** The query parameters of every list. */
export const paging = {
  limit: decimal(
    z
      .number('must be a whole number in decimal digits')
      .int('must be a whole number')
      .min(1, 'must be at least 1')
      .max(200, 'must be at most 200'),
  )
    .default(50)
    .describe('Maximum number of items on a page.'),
  cursor: z.string().max(1_024).optional().describe('The next_cursor of the previous page, with the same filters.'),
};

/** The response schema of every list. */
export function pageOf<T extends z.ZodType>(items: T) {
  return z.strictObject({
    items: z.array(items),
    next_cursor: z.string().optional().describe('Pass it as cursor to get the next page; absent on the last page.'),
  });
}

export class Cursors {
  readonly #vault: Vault;

  constructor(vault: Vault) {
    this.#vault = vault;
  }

  /**
   * Decrypts a cursor of this list to its position. The list itself encrypted that position, so the cast is safe.
   * Refuses any other text.
   */
  async open<P extends Position>(list: List, cursor: string | undefined, now: Date): Promise<P | undefined> {
    if (cursor === undefined) return undefined;
    const key = await this.#vault.current('cursors', now);
    try {
      return JSON.parse(key.open(Buffer.from(cursor, 'base64url'), associatedData(list)).toString()) as P;
    } catch {
      throw invalid('cursor', 'is not a cursor of this list with these filters');
    }
  }

  async page<Row, View>(list: List, { rows, limit, position, view }: Rows<Row, View>, now: Date): Promise<Page<View>> {
    const items = rows.slice(0, limit).map(view);
    const last = rows[limit - 1];
    if (rows.length <= limit || last === undefined) return { items };
    const key = await this.#vault.current('cursors', now);
    const sealed = key.seal(Buffer.from(JSON.stringify(position(last))), associatedData(list));
    return { items, next_cursor: sealed.toString('base64url') };
  }
}

function associatedData({ name, filters = {} }: List): string {
  const named = Object.entries(filters).filter(([, value]) => value !== undefined);
  return JSON.stringify([name, named.sort(([a], [b]) => (a < b ? -1 : 1))]);
}
