/**
 * JWT access tokens that were revoked one by one (RFC 7009). Every node holds them in memory until they expire. If
 * there are more than fit, the others stay in the database only, which `has` then queries.
 */
import { sql } from 'kysely';
import type { Database } from '../../db/connection.ts';

/**
 * No token is valid for longer. A revocation received without its expiry is kept this long, or until the next `load`.
 */
const LONGEST_TOKEN_MILLISECONDS = 86_400_000;
/** About 15 MB. */
const HELD_AT_MOST = 100_000;

interface Revoked {
  /** When the token expires, in epoch milliseconds. */
  readonly until: number;
  /** A time of `performance.now()`. */
  readonly receivedAt: number;
}

export class RevokedTokens {
  readonly #database: Database;
  readonly #heldAtMost: number;
  #revoked = new Map<string, Revoked>();
  /** Until this time, a token that is not held in memory may nevertheless be revoked. */
  #incompleteUntil = 0;

  constructor(database: Database, { heldAtMost = HELD_AT_MOST }: { readonly heldAtMost?: number } = {}) {
    this.#database = database;
    this.#heldAtMost = heldAtMost;
  }

  get size(): number {
    return this.#revoked.size;
  }

  /** Reloads the tokens from the database with their expiry; call it periodically. */
  async load(now: Date): Promise<void> {
    const began = performance.now();
    const rows = await this.#database
      .selectFrom('revoked_tokens')
      .select(['jti', 'expires_at'])
      .where('expires_at', '>', now)
      .orderBy('expires_at', 'desc')
      .limit(this.#heldAtMost + 1)
      .execute();
    const leftOut = rows.length > this.#heldAtMost ? rows.pop() : undefined;
    this.#incompleteUntil = leftOut?.expires_at.getTime() ?? 0;
    const before = this.#revoked;
    this.#revoked = new Map(rows.map((row) => [row.jti, { until: row.expires_at.getTime(), receivedAt: began }]));
    // the query may have missed a revocation that arrived while it ran
    for (const [jti, revoked] of before) if (revoked.receivedAt >= began) this.#hold(jti, revoked);
  }

  add(jti: string, now: Date): void {
    this.#hold(jti, { until: now.getTime() + LONGEST_TOKEN_MILLISECONDS, receivedAt: performance.now() });
  }

  /** True if the token, which has not expired, was revoked. */
  async has(jti: string, now: Date): Promise<boolean> {
    if (this.#revoked.has(jti)) return true;
    if (now.getTime() >= this.#incompleteUntil) return false;
    const { rows } = await sql`select from revoked_tokens where jti = ${jti}`.execute(this.#database);
    return rows.length > 0;
  }

  #hold(jti: string, revoked: Revoked): void {
    this.#revoked.set(jti, revoked);
    if (this.#revoked.size <= this.#heldAtMost) return;
    const [first] = this.#revoked.keys();
    if (first === undefined) return;
    this.#incompleteUntil = Math.max(this.#incompleteUntil, this.#revoked.get(first)?.until ?? 0);
    this.#revoked.delete(first);
  }
}
