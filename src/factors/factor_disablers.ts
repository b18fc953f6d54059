/**
 * What the links in mails do about factors: a report removes the reported factor, and a way back of the address removes
 * those that were added since. Neither lets the mailbox alone past a second factor that the account had.
 */
import type { DisableCredential, Disablers, UndoLaterChanges } from '../account_links/link_use.ts';
import { NO_NOTICES } from '../account_links/notices.ts';
import { passwordDigest } from '../accounts/password_digest.ts';
import type { UnitOfWork } from '../audit/unit_of_work.ts';
import { needFactor } from './factor_needs.ts';
import { isSecondFactor, listReferences, type FactorReference } from './factor_references.ts';
import { removePasskey } from './passkey_rows.ts';
import { removeRecoveryCodes } from './recovery_codes.ts';
import { removeTotp } from './totp.ts';

/**
 * Removes the reported factor, and recovery codes that were made after it. A factor that was removed or replaced already
 * stays as it is.
 */
const disableFactor: DisableCredential = async (work, account, { reference, before }) => {
  const { accountId } = account;
  const factors = await listReferences(work.tx, accountId);
  const reported = factors.find(({ name }) => name === reference);
  if (!reported) return undefined;
  if (!isSecondFactor(reported)) {
    await remove(work, accountId, [reported]);
    return undefined;
  }
  const isLaterCode = ({ factor, name }: FactorReference): boolean =>
    factor === 'recovery_codes' && !before?.factors.includes(name);
  await remove(work, accountId, [reported, ...factors.filter(isLaterCode)]);
  const isUnchanged = account.passwordHash !== null && before?.password === passwordDigest(account);
  await needFactor(work, accountId, isUnchanged ? passwordDigest(account) : null);
  if (factors.some((factor) => factor !== reported && isSecondFactor(factor))) return undefined;
  return isUnchanged ? 'password' : 'factor';
};

export const FACTOR_DISABLERS: Disablers = {
  totp: disableFactor,
  recovery_codes: disableFactor,
  passkey: disableFactor,
};

/** Removes the factors that the account did not have then. */
export const undoLaterFactors: UndoLaterChanges = async (work, { accountId }, before) => {
  const factors = await listReferences(work.tx, accountId);
  const later = factors.filter(({ name }) => !before.factors.includes(name));
  await remove(work, accountId, later);
  if (before.password === null) await needFactor(work, accountId, null);
};

/** The link's own mails tell the owner. */
async function remove(
  { tx, trail, origin, now }: UnitOfWork,
  accountId: string,
  references: readonly FactorReference[],
): Promise<void> {
  const work = { tx, trail, origin, now, notices: NO_NOTICES };
  for (const { factor, name, createdAt } of references) {
    if (factor === 'totp') await removeTotp(work, accountId);
    else if (factor === 'passkey') await removePasskey(work, accountId, name);
    else await removeRecoveryCodes(work, accountId, createdAt);
  }
}
