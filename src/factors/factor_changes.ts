/**
 * Records that a factor of an account changed, and what follows from each such change. A notice to the owner of the
 * account belongs into `recordFactorChange`: all changes of factors pass through it, in their transaction.
 */
import { endAllSessions, endOtherSessions } from '../accounts/sessions.ts';
import type { EventOf } from '../audit/catalogue.ts';
import type { UnitOfWork } from '../audit/unit_of_work.ts';
import { forgetAllDevices } from './remembered_devices.ts';

/** A change of a factor, as an event of the audit trail. */
type FactorChange = EventOf<
  'factor.added' | 'factor.removed' | 'factor.renamed' | 'recovery_code.used' | 'recovery_code.issued'
>;

/** The change as it is stored and announced. */
export async function recordFactorChange(
  { tx, trail, origin }: UnitOfWork,
  accountId: string,
  change: FactorChange,
): Promise<void> {
  await trail.recordIn(tx, origin, { ...change, accountId });
}

/**
 * What a new or removed factor ends: all other sessions, and the devices on which the second step was not repeated.
 * `exceptSession` is the session in which the owner made the change.
 */
export async function endOlderLogins(
  work: UnitOfWork,
  accountId: string,
  exceptSession: string | undefined,
): Promise<void> {
  await forgetAllDevices(work, accountId);
  if (exceptSession === undefined) await endAllSessions(work, accountId);
  else await endOtherSessions(work, accountId, exceptSession);
}
