/**
 * Records that a factor of an account changed, and what follows from each such change. All changes of factors pass
 * through `recordFactorChange`, in their transaction.
 */
import { endAllSessions, endOtherSessions } from '../accounts/sessions.ts';
import type { EventOf } from '../audit/catalogue.ts';
import type { UnitOfWork } from '../audit/unit_of_work.ts';
import type { OpenNotices } from '../account_links/notices.ts';
import { findAccount } from '../accounts/account.ts';
import type { ReportedChange } from '../accounts/links.ts';
import { endFactorNeed } from './factor_needs.ts';
import { forgetAllDevices } from './remembered_devices.ts';

/** A change of a factor, as an event of the audit trail. */
type FactorChange = EventOf<
  'factor.added' | 'factor.removed' | 'factor.renamed' | 'recovery_code.used' | 'recovery_code.issued'
>;

/** The transaction of a change, with the notices that were opened before it. */
export interface FactorWork extends UnitOfWork {
  readonly notices: OpenNotices;
}

/** Stores the change, and tells the owner of the account. `which` names the factor, and what the account had before. */
export async function recordFactorChange(
  work: FactorWork,
  accountId: string,
  change: FactorChange,
  which: Pick<ReportedChange, 'reference' | 'before'>,
): Promise<void> {
  await work.trail.recordIn(work.tx, work.origin, { ...change, accountId });
  const notice = noticeOf(change);
  if (!notice) return;
  const account = await findAccount(work.tx, accountId);
  if (account)
    await work.notices.credentialChanged(work, account, notice.sentence, {
      credential: notice.credential,
      ...which,
    });
}

interface Notice {
  readonly sentence: string;
  /** What the owner of the account can report as not theirs. */
  readonly credential: string;
}

const NAMES = { totp: 'An authenticator app', passkey: 'A passkey', recovery_codes: 'Recovery codes' } as const;

/** `undefined` for a change of a name. */
function noticeOf(change: FactorChange): Notice | undefined {
  if (change.event === 'factor.renamed') return undefined;
  if (change.event === 'recovery_code.used')
    return { sentence: 'A recovery code of your account was used.', credential: 'recovery_codes' };
  if (change.event === 'recovery_code.issued')
    return {
      sentence: 'An administrator made a code with which a new factor can be added to your account.',
      credential: 'recovery_codes',
    };
  const { factor } = change.details;
  const verb = factor === 'recovery_codes' ? 'were' : 'was';
  const done = change.event === 'factor.added' ? 'added to' : 'removed from';
  return { sentence: `${NAMES[factor]} ${verb} ${done} your account.`, credential: factor };
}

/**
 * What a new or removed factor ends: all other sessions, and the devices on which the second step was not repeated.
 * `exceptSession` is the session in which the owner made the change: it also satisfies what a report left.
 */
export async function endOlderLogins(
  work: UnitOfWork,
  accountId: string,
  exceptSession: string | undefined,
): Promise<void> {
  await forgetAllDevices(work, accountId);
  if (exceptSession === undefined) await endAllSessions(work, accountId);
  else {
    await endOtherSessions(work, accountId, exceptSession);
    await endFactorNeed(work.tx, accountId);
  }
}
