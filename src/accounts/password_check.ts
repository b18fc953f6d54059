/**
 * Checks the email address and password of a login. Every failure with the same password takes the same number of
 * argon2id computations, so the duration reveals nothing about the account: one, or two if the password was typed in
 * another form than normalization form C.
 */
import type { Argon2id } from '../password_hashing/argon2id.ts';
import type { Database, Tx } from '../db/connection.ts';
import { findAccount, findAccountByEmail, type Account } from './account.ts';
import { composed, hashPassword } from './password.ts';

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
    const stored = account?.passwordHash ?? decoy;
    const matches = await this.#argon2id.verify(stored, composed(password));
    if (account && matches && isUsable(account)) return { account };
    // hashes of earlier versions are of the password as it was typed
    const matchesAsTyped = password !== composed(password) && (await this.#argon2id.verify(stored, password));
    if (!account) return { reason: 'unknown_account' };
    const { accountId } = account;
    if (!account.passwordHash || !(matches || matchesAsTyped)) return { reason: 'wrong_password', accountId };
    if (account.disabledAt) return { reason: 'account_disabled', accountId };
    return this.#renewHash(account, password);
  }

  /**
   * Replaces the hash by one of the composed form. If the hash was replaced meanwhile, by a login at the same time or
   * with a new password, the new one decides.
   */
  async #renewHash(account: Account, password: string): Promise<PasswordOutcome> {
    const { accountId } = account;
    const passwordHash = await hashPassword(this.#argon2id, password);
    const { numUpdatedRows } = await this.#database
      .updateTable('accounts')
      .set({ password_hash: passwordHash })
      .where('account_id', '=', accountId)
      .where('password_hash', '=', account.passwordHash)
      .executeTakeFirst();
    if (numUpdatedRows > 0n) return { account: { ...account, passwordHash } };
    const changed = await findAccount(this.#database, accountId);
    const matches = changed?.passwordHash && (await this.#argon2id.verify(changed.passwordHash, composed(password)));
    return changed && matches && isUsable(changed) ? { account: changed } : { reason: 'wrong_password', accountId };
  }
}

function isUsable({ passwordHash, disabledAt }: Account): boolean {
  return passwordHash !== null && disabledAt === null;
}

/** The same for a login without a password: throws `AccountChanged` if the account was disabled or deleted. */
export async function requireEnabledAccount(tx: Tx, { accountId }: Pick<Account, 'accountId'>): Promise<void> {
  const row = await tx
    .selectFrom('accounts')
    .select('account_id')
    .where('account_id', '=', accountId)
    .where('disabled_at', 'is', null)
    .forShare()
    .executeTakeFirst();
  if (!row) throw new AccountChanged('The account was disabled in the meantime.');
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
