/**
 * JWT access tokens revoked one by one (RFC 7009): held in memory on every node until they would have expired anyway.
 * Of more than fit some are left to the database, which is then asked for as long as that matters.
 */
import { sql } from 'kysely';
import type { Database } from '../../db/connection.ts';

/** No token lives longer: what is known only by name is kept for as long as it can matter, or until the next `load`. */
const LONGEST_TOKEN_MILLISECONDS = 86_400_000;
/** Some 15 MB. */
const HELD_AT_MOST = 100_000;

interface Revoked {
  /** When it would have expired. */
  readonly until: number;
  /** By the clock of this process. */
  readonly heardAt: number;
}

export class RevokedTokens {
  readonly #database: Database;
  readonly #heldAtMost: number;
  #revoked = new Map<string, Revoked>();
  /** Until then one that is not held may be revoked all the same. */
  #leftOutUntil = 0;

  constructor(database: Database, { heldAtMost = HELD_AT_MOST }: { readonly heldAtMost?: number } = {}) {
    this.#database = database;
    this.#heldAtMost = heldAtMost;
  }

  get size(): number {
    return this.#revoked.size;
  }

  /** Reads them anew, each with its expiry; call it now and then. */
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
    this.#leftOutUntil = leftOut?.expires_at.getTime() ?? 0;
    const before = this.#revoked;
    this.#revoked = new Map(rows.map((row) => [row.jti, { until: row.expires_at.getTime(), heardAt: began }]));
    // a revocation that was heard of while we read is not among the rows
    for (const [jti, revoked] of before) if (revoked.heardAt >= began) this.#hold(jti, revoked);
  }

  add(jti: string, now: Date): void {
    this.#hold(jti, { until: now.getTime() + LONGEST_TOKEN_MILLISECONDS, heardAt: performance.now() });
  }

  /** Whether a token that has not expired was revoked. */
  async has(jti: string, now: Date): Promise<boolean> {
    if (this.#revoked.has(jti)) return true;
    if (now.getTime() >= this.#leftOutUntil) return false;
    const { rows } = await sql`select from revoked_tokens where jti = ${jti}`.execute(this.#database);
    return rows.length > 0;
  }

  #hold(jti: string, revoked: Revoked): void {
    this.#revoked.set(jti, revoked);
    if (this.#revoked.size <= this.#heldAtMost) return;
    const [first] = this.#revoked.keys();
    if (first === undefined) return;
    this.#leftOutUntil = Math.max(this.#leftOutUntil, this.#revoked.get(first)?.until ?? 0);
    this.#revoked.delete(first);
  }
}
