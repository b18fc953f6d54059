/** Ends links that an admin may keep until their account has more rights. */
import { sql } from 'kysely';
import { recordMany } from '../audit/many_events.ts';
import type { UnitOfWork } from '../audit/unit_of_work.ts';
import { ENDED_BY_CHANGES } from './links.ts';

/**
 * Ends the links of accounts that get scopes of the admin API, with an event for each. The ways back and reports stay:
 * they go to the mailbox of the owner alone, and protect the account. The caller has locked the accounts.
 */
export async function endPreparedLinks(work: UnitOfWork, accountIds: readonly string[]): Promise<void> {
  const ended = await work.tx
    .deleteFrom('account_links')
    .where(sql<boolean>`account_id = any(${accountIds}::text[])`)
    .where('kind', 'in', ENDED_BY_CHANGES)
    .where('expires_at', '>', work.now)
    .returning(['account_id', 'link_id', 'kind'])
    .execute();
  await recordMany(
    work,
    ended.map(({ account_id: accountId, link_id, kind }) => ({
      event: 'account.link_ended',
      outcome: 'success',
      accountId,
      details: { link_id, kind, reason: 'admin_rights' },
    })),
  );
}
