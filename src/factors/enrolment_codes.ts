/** Ends enrolment codes that an admin may keep until their account has more rights. */
import { recordMany } from '../audit/many_events.ts';
import type { UnitOfWork } from '../audit/unit_of_work.ts';

/** Ends the codes of accounts that get scopes of the admin API, with an event for each. The caller has locked the accounts. */
export async function endEnrolmentCodes(work: UnitOfWork, accountIds: readonly string[]): Promise<void> {
  const ended = await work.tx
    .deleteFrom('recovery_codes')
    .where('account_id', 'in', accountIds)
    .where('for_enrolment', '=', true)
    .where('expires_at', '>', work.now)
    .returning('account_id')
    .execute();
  await recordMany(
    work,
    ended.map(({ account_id: accountId }) => ({
      event: 'recovery_code.ended',
      outcome: 'success',
      accountId,
      details: { reason: 'admin_rights' },
    })),
  );
}
