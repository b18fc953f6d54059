/** Disables a factor after its owner reported that they had not changed it. The report sends a mail of its own. */
import type { DisableCredential, Disablers } from '../account_links/link_use.ts';
import { NO_NOTICES } from '../account_links/notices.ts';
import type { FactorWork } from './factor_changes.ts';
import { removePasskey } from './passkey_rows.ts';
import { removeRecoveryCodes } from './recovery_codes.ts';
import { removeTotp } from './totp.ts';

/** A factor that was removed already is left as it is. */
export const FACTOR_DISABLERS: Disablers = {
  totp: disabling((work, accountId) => removeTotp(work, accountId)),
  recovery_codes: disabling((work, accountId) => removeRecoveryCodes(work, accountId)),
  passkey: disabling((work, accountId, passkeyId) => removePasskey(work, accountId, passkeyId ?? '')),
};

function disabling(
  remove: (work: FactorWork, accountId: string, reference: string | undefined) => Promise<unknown>,
): DisableCredential {
  return async (work, { accountId }, reference) =>
    void (await remove({ ...work, notices: NO_NOTICES }, accountId, reference));
}
