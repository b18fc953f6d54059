/** Checks that the groups that a client names exist. */
import { invalid } from '../base/refusal.ts';
import type { Tx } from '../db/connection.ts';

/** Throws unless all exist. Locks them against deletion until the transaction ends. */
export async function requireGroups(tx: Tx, groupIds: readonly string[] | undefined): Promise<void> {
  if (!groupIds) return;
  const rows = await tx
    .selectFrom('groups')
    .select('group_id')
    .where('group_id', 'in', groupIds)
    .orderBy('group_id')
    .forKeyShare()
    .execute();
  const known = new Set(rows.map(({ group_id }) => group_id));
  const index = groupIds.findIndex((groupId) => !known.has(groupId));
  if (index >= 0) throw invalid(`/allowed_groups/${index}`, 'must be the id of a group');
}
