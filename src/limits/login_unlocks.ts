/**
 * Accounts whose limits of wrong logins an admin has ended. Counters are keyed digests of places and can't be found by
 * their account, so the attempts of an unlocked account are counted under another name from then on.
 */
import type { Digest } from '../base/secret.ts';
import type { Database, Tx } from '../db/connection.ts';

export class LoginUnlocks {
  readonly #database: Database;
  readonly #digest: (text: string) => Digest;

  constructor(database: Database, digest: (text: string) => Digest) {
    this.#database = database;
    this.#digest = digest;
  }

  /** Returns the name under which attempts at the account count. */
  async countedAs(account: string): Promise<string> {
    const row = await this.#database
      .selectFrom('login_unlocks')
      .select('unlocked_at')
      .where('account', '=', this.#key(account))
      .executeTakeFirst();
    return row ? `${account} since ${row.unlocked_at.toISOString()}` : account;
  }

  async unlock(tx: Tx, account: string, now: Date): Promise<void> {
    await tx
      .insertInto('login_unlocks')
      .values({ account: this.#key(account), unlocked_at: now })
      .onConflict((clash) => clash.column('account').doUpdateSet({ unlocked_at: now }))
      .execute();
  }

  #key(account: string): Digest {
    return this.#digest(`unlocked account ${account}`);
  }
}
