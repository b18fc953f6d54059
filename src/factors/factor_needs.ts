/**
 * Accounts whose login needs more than a password although they have no second factor: their last one was removed by a
 * link in a mail, and the mailbox alone must not get past a second factor. A recovery code from before the reported
 * change, a code of an admin, or the password that the account had before satisfies the need. A new factor ends it.
 */
import type { Account } from '../accounts/account.ts';
import { passwordDigest } from '../accounts/password_digest.ts';
import type { UnitOfWork } from '../audit/unit_of_work.ts';
import type { Reader, Tx } from '../db/connection.ts';

export interface FactorNeed {
  /** The digest of the password that is enough; `null` if none is. */
  readonly password: string | null;
}

export async function findFactorNeed(reader: Reader, accountId: string): Promise<FactorNeed | undefined> {
  return reader.selectFrom('factor_needs').select('password').where('account_id', '=', accountId).executeTakeFirst();
}

/** Stores the need. It counts while the account has no second factor. */
export async function needFactor(
  { tx, now }: Pick<UnitOfWork, 'tx' | 'now'>,
  accountId: string,
  password: string | null,
): Promise<void> {
  await tx
    .insertInto('factor_needs')
    .values({ account_id: accountId, password, created_at: now })
    .onConflict((clash) =>
      clash
        .column('account_id')
        .doUpdateSet(({ fn, ref }) => ({ password: fn.coalesce('excluded.password', ref('factor_needs.password')) })),
    )
    .execute();
}

/** Whether this password leaves the need open. */
export function isOpen(need: FactorNeed | undefined, account: Pick<Account, 'passwordHash'>): boolean {
  return need !== undefined && need.password !== passwordDigest(account);
}

export async function endFactorNeed(tx: Tx, accountId: string): Promise<void> {
  await tx.deleteFrom('factor_needs').where('account_id', '=', accountId).execute();
}

/** Ends the need after a login with the password that the account had before. */
export async function endSatisfiedNeed(tx: Tx, account: Account): Promise<void> {
  await tx
    .deleteFrom('factor_needs')
    .where('account_id', '=', account.accountId)
    .where('password', '=', passwordDigest(account))
    .execute();
}
