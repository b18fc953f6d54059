/** When each secret was last used, noted in memory and written now and then: exact to a minute, free for the token path. */
import { setTimeout as delay } from 'node:timers/promises';
import { sql } from 'kysely';
import { json, type Database } from '../db/connection.ts';

/** Some 10 MB. What is not noted looks unused for a while, which is all that can come of it. */
const NOTED_AT_MOST = 50_000;
/** Few, so that the database is never busy with this for as long as a token may take. */
const BATCH = 200;

export interface Pace {
  readonly pauseMilliseconds?: number;
  /** Ends the pauses when it is aborted. */
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
    if (this.#uses.size < NOTED_AT_MOST || this.#uses.has(secretId)) this.#uses.set(secretId, now);
  }

  /** Writes what was noted since the last call, with a pause after each batch; what can't be written stays noted. */
  async write({ pauseMilliseconds = 0, signal }: Pace = {}): Promise<void> {
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
      // who stops waits for this, and for no pause
      if (uses.length > 0) await delay(pauseMilliseconds, undefined, { signal }).catch(() => {});
    }
  }

  async #writeSome(rows: readonly { readonly secret_id: string; readonly used_at: Date }[]): Promise<void> {
    // never backwards: the other node may have seen a later use; in one order, so that two nodes can't deadlock
    await sql`update client_secrets s set last_used_at = u.used_at
      from jsonb_to_recordset(${json(rows)}::jsonb) as u(secret_id text, used_at timestamptz)
      where s.secret_id = u.secret_id and (s.last_used_at is null or s.last_used_at < u.used_at)
      and s.secret_id in (select secret_id from client_secrets where secret_id in
        (select secret_id from jsonb_to_recordset(${json(rows)}::jsonb) as w(secret_id text))
        order by secret_id for update skip locked)`.execute(this.#database);
  }
}
