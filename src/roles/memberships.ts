/** The groups of an account, as the statements that read a person's token or account bring them along. */
import { sql, type RawBuilder } from 'kysely';
import type { Reader } from '../db/connection.ts';

/** The ids of the groups, each with whether an admin has added the account by hand. */
export type Memberships = Readonly<Record<string, boolean>>;

export const NO_MEMBERSHIPS: Memberships = {};

/**
 * An expression for a prepared statement: the groups of the account in `accountId`, read only if the boolean in
 * `isWanted` is true. PostgreSQL does not run the subquery otherwise.
 */
export function membershipsColumn(accountId: string, isWanted: string): string {
  const groups = `select jsonb_object_agg(group_id, by_hand) from group_members where group_members.account_id = ${accountId}`;
  return `case when ${isWanted}::boolean then (${groups}) end`;
}

/** The same for a query of Kysely. */
export function membershipsOf(accountId: string, isWanted: boolean): RawBuilder<Memberships | null> {
  return isWanted
    ? sql<Memberships | null>`(
        select jsonb_object_agg(group_id, by_hand) from group_members where account_id = ${sql.ref(accountId)})`
    : sql<Memberships | null>`null::jsonb`;
}

export async function readMemberships(reader: Reader, accountId: string): Promise<Memberships> {
  const rows = await reader
    .selectFrom('group_members')
    .select(['group_id', 'by_hand'])
    .where('account_id', '=', accountId)
    .execute();
  return Object.fromEntries(rows.map(({ group_id, by_hand }) => [group_id, by_hand]));
}
