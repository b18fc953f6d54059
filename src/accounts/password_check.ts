/** Checks a login. Whatever is wrong with it, the answer takes one argon2id pass and says the same. */
import type { Argon2id } from '../password_hashing/argon2id.ts';
import type { Database, Tx } from '../db/connection.ts';
import { findAccountByEmail, type Account } from './account.ts';

/** The reason of a failure is for the audit trail; the page must not show it. */
export type PasswordOutcome =
  | { readonly account: Account }
  | {
      readonly account?: never;
      readonly reason: 'unknown_account' | 'wrong_password' | 'account_disabled';
      readonly accountId?: string;
    };

export class PasswordCheck {
  readonly #database: Database;
  readonly #argon2id: Argon2id;
  #decoy: Promise<string> | undefined;

  constructor(database: Database, argon2id: Argon2id) {
    this.#database = database;
    this.#argon2id = argon2id;
  }

  async check(email: string, password: string): Promise<PasswordOutcome> {
    // what nobody's password can match, at the same cost
    this.#decoy ??= this.#argon2id.hash('no account has this password');
    const decoy = await this.#decoy;
    const account = await findAccountByEmail(this.#database, email.trim().toLowerCase());
    const matches = await this.#argon2id.verify(account?.passwordHash ?? decoy, password);
    if (!account) return { reason: 'unknown_account' };
    const { accountId } = account;
    if (!matches || !account.passwordHash) return { reason: 'wrong_password', accountId };
    if (account.disabledAt) return { reason: 'account_disabled', accountId };
    return { account };
  }
}

/** The password was changed, or the account disabled, after the password had been looked at. */
export class NoLongerRight extends Error {}

/**
 * To be called in the transaction that logs in. It waits for a change of the account that is under way, and a later
 * change waits for this login, and ends it. Throws `NoLongerRight`.
 */
export async function demandStillRight(tx: Tx, { accountId, passwordHash }: Account): Promise<void> {
  const row = await tx
    .selectFrom('accounts')
    .select('account_id')
    .where('account_id', '=', accountId)
    .where('password_hash', '=', passwordHash)
    .where('disabled_at', 'is', null)
    .forShare()
    .executeTakeFirst();
  if (!row) throw new NoLongerRight('The password was changed, or the account disabled, in the meantime.');
}
