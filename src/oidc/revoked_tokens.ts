/** JWT access tokens revoked one by one (RFC 7009): held in memory on every node until they would have expired anyway. */
import type { Database } from '../db/connection.ts';

/** No token lives longer: what is known only by name is kept for as long as it can matter. */
const LONGEST_TOKEN_MILLISECONDS = 86_400_000;

export class RevokedTokens {
  readonly #database: Database;
  readonly #until = new Map<string, number>();

  constructor(database: Database) {
    this.#database = database;
  }

  async load(now: Date): Promise<void> {
    const rows = await this.#database
      .selectFrom('revoked_tokens')
      .select(['jti', 'expires_at'])
      .where('expires_at', '>', now)
      .execute();
    // added to what is there: a revocation that was heard of while we read is not among the rows
    for (const row of rows) this.#until.set(row.jti, row.expires_at.getTime());
  }

  add(jti: string, now: Date): void {
    this.#until.set(jti, now.getTime() + LONGEST_TOKEN_MILLISECONDS);
  }

  has(jti: string): boolean {
    return this.#until.has(jti);
  }

  forgetExpired(now: Date): void {
    for (const [jti, until] of this.#until) if (until <= now.getTime()) this.#until.delete(jti);
  }
}
