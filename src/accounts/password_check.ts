/**
 * Checks the email address and password of a login. Every failure takes one argon2id computation, so the duration
 * reveals nothing.
 */
import type { Argon2id } from '../password_hashing/argon2id.ts';
import type { Database, Tx } from '../db/connection.ts';
import { findAccountByEmail, type Account } from './account.ts';

/** The reason of a failure is only for the audit trail; no page may show it. */
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
    // a hash that no password matches, with the same cost
    this.#decoy ??= this.#argon2id.hash('no account has this password');
    const decoy = await this.#decoy;
    const account = await findAccountByEmail(this.#database, email);
    const matches = await this.#argon2id.verify(account?.passwordHash ?? decoy, password);
    if (!account) return { reason: 'unknown_account' };
    const { accountId } = account;
    if (!matches || !account.passwordHash) return { reason: 'wrong_password', accountId };
    if (account.disabledAt) return { reason: 'account_disabled', accountId };
    return { account };
  }
}

/** The password was changed or the account disabled after the password check. */
export class AccountChanged extends Error {}

/**
 * Locks the account in the transaction of the login and throws `AccountChanged` if it changed after the password check.
 * It waits for a concurrent change of the account; a later change waits for this login and ends its session.
 */
export async function requireUnchangedAccount(tx: Tx, { accountId, passwordHash }: Account): Promise<void> {
  const row = await tx
    .selectFrom('accounts')
    .select('account_id')
    .where('account_id', '=', accountId)
    .where('password_hash', '=', passwordHash)
    .where('disabled_at', 'is', null)
    .forShare()
    .executeTakeFirst();
  if (!row) throw new AccountChanged('The password was changed or the account was disabled in the meantime.');
}
