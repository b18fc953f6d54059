/**
 * Cursors: where a page ended, sealed and bound to its list and filters. A caller can neither read nor make one, so
 * nothing in it needs to be trusted on the way to the database, and no cursor of one list works in another.
 */
import { z } from 'zod';
import { invalid } from '../base/refusal.ts';
import type { Vault } from '../vault/vault.ts';
import { decimal } from './members.ts';

/** A list as asked for: a cursor is good for the same name with the same filters. */
export interface List {
  readonly name: string;
  readonly filters?: Readonly<Record<string, string | undefined>>;
}

/** The columns that the list is ordered by, of the last row of a page. */
export type Position = Readonly<Record<string, string>>;

export interface Rows<Row, View> {
  /** One more than `limit`, when there is more. */
  readonly rows: readonly Row[];
  readonly limit: number;
  readonly position: (row: Row) => Position;
  readonly view: (row: Row) => View;
}

export interface Page<View> {
  readonly items: View[];
  readonly next_cursor?: string;
}

/** What every list takes. */
export const paging = {
  limit: decimal(
    z
      .number('must be a whole number in decimal digits')
      .int('must be a whole number')
      .min(1, 'must be at least 1')
      .max(200, 'must be at most 200'),
  )
    .default(50)
    .describe('How many items a page has at most.'),
  cursor: z.string().max(1_024).optional().describe('The next_cursor of the page before, with the same filters.'),
};

/** What every list replies with. */
export function pageOf<T extends z.ZodType>(items: T) {
  return z.strictObject({
    items: z.array(items),
    next_cursor: z.string().optional().describe('Asks for the next page; left out on the last one.'),
  });
}

export class Cursors {
  readonly #vault: Vault;

  constructor(vault: Vault) {
    this.#vault = vault;
  }

  /** The position in a cursor of this list. What was sealed for the list is what comes out, hence the type. */
  async open<P extends Position>(list: List, cursor: string | undefined, now: Date): Promise<P | undefined> {
    if (cursor === undefined) return undefined;
    const key = await this.#vault.current('cursors', now);
    try {
      return JSON.parse(key.open(Buffer.from(cursor, 'base64url'), bound(list)).toString()) as P;
    } catch {
      throw invalid('cursor', 'is not a cursor of this list with these filters');
    }
  }

  async page<Row, View>(list: List, { rows, limit, position, view }: Rows<Row, View>, now: Date): Promise<Page<View>> {
    const items = rows.slice(0, limit).map(view);
    const last = rows[limit - 1];
    if (rows.length <= limit || last === undefined) return { items };
    const key = await this.#vault.current('cursors', now);
    const box = key.seal(Buffer.from(JSON.stringify(position(last))), bound(list));
    return { items, next_cursor: box.toString('base64url') };
  }
}

function bound({ name, filters = {} }: List): string {
  const named = Object.entries(filters).filter(([, value]) => value !== undefined);
  return JSON.stringify([name, named.sort(([a], [b]) => (a < b ? -1 : 1))]);
}
