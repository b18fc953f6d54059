/** Checks a login. Whatever is wrong with it, the answer takes one argon2id pass and says the same. */
import type { Argon2id } from '../base/argon2id.ts';
import type { Database } from '../db/connection.ts';
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
