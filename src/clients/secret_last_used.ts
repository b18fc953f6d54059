/**
 * Records when each secret was last used: in memory at once, in the database from time to time. Accurate to one minute,
 * without cost for token requests.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { sql } from 'kysely';
import { json, type Database } from '../db/connection.ts';

/** Takes about 10 MB. Uses beyond this limit are not recorded until the next write. */
const USES_AT_MOST = 50_000;
/** Small, so that no statement keeps the database busy for longer than a token request may take. */
const BATCH = 200;

export interface WritePace {
  readonly pauseMilliseconds?: number;
  /** Aborting it ends the pauses. */
  readonly signal?: AbortSignal;
}

export class SecretUses {
  readonly #database: Database;
  #uses = new Map<string, Date>();

  constructor(database: Database) {
    this.#database = database;
  }

  get size(): number {
    return this.#uses.size;
  }

  note(secretId: string, now: Date): void {
    if (this.#uses.size < USES_AT_MOST || this.#uses.has(secretId)) this.#uses.set(secretId, now);
  }

  /**
   * Writes the uses recorded since the last call, with a pause after each batch. After an error it keeps the unwritten
   * ones.
   */
  async write({ pauseMilliseconds = 0, signal }: WritePace = {}): Promise<void> {
    const uses = [...this.#uses];
    this.#uses = new Map();
    while (uses.length > 0) {
      const batch = uses.splice(-BATCH);
      try {
        await this.#writeSome(batch.map(([secret_id, used_at]) => ({ secret_id, used_at })));
      } catch (error) {
        for (const [secretId, usedAt] of [...uses, ...batch]) {
          if (!this.#uses.has(secretId)) this.note(secretId, usedAt);
        }
        throw error;
      }
      // a stopping process waits for the writes but not for the pauses
      if (uses.length > 0) await delay(pauseMilliseconds, undefined, { signal }).catch(() => {});
    }
  }

  async #writeSome(rows: readonly { readonly secret_id: string; readonly used_at: Date }[]): Promise<void> {
    // never sets an older time, because another node may have recorded a later use; ordered, so that two nodes cannot
    // deadlock
    await sql`update client_secrets s set last_used_at = u.used_at
      from jsonb_to_recordset(${json(rows)}::jsonb) as u(secret_id text, used_at timestamptz)
      where s.secret_id = u.secret_id and (s.last_used_at is null or s.last_used_at < u.used_at)
      and s.secret_id in (select secret_id from client_secrets where secret_id in
        (select secret_id from jsonb_to_recordset(${json(rows)}::jsonb) as w(secret_id text))
        order by secret_id for update skip locked)`.execute(this.#database);
  }
}
