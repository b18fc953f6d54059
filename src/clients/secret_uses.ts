/** When each secret was last used, noted in memory and written now and then: exact to a minute, free for the token path. */
import { sql } from 'kysely';
import { json, type Database } from '../db/connection.ts';

export class SecretUses {
  readonly #database: Database;
  #uses = new Map<string, Date>();

  constructor(database: Database) {
    this.#database = database;
  }

  note(secretId: string, now: Date): void {
    this.#uses.set(secretId, now);
  }

  /** Writes what was noted since the last call; what can't be written stays noted. */
  async write(): Promise<void> {
    if (this.#uses.size === 0) return;
    const uses = this.#uses;
    this.#uses = new Map();
    const rows = [...uses].map(([secret_id, used_at]) => ({ secret_id, used_at }));
    try {
      // never backwards: the other node may have seen a later use; in one order, so that two nodes can't deadlock
      await sql`update client_secrets s set last_used_at = u.used_at
        from jsonb_to_recordset(${json(rows)}::jsonb) as u(secret_id text, used_at timestamptz)
        where s.secret_id = u.secret_id and (s.last_used_at is null or s.last_used_at < u.used_at)
        and s.secret_id in (select secret_id from client_secrets where secret_id in
          (select secret_id from jsonb_to_recordset(${json(rows)}::jsonb) as w(secret_id text))
          order by secret_id for update skip locked)`.execute(this.#database);
    } catch (error) {
      for (const [secretId, usedAt] of uses) if (!this.#uses.has(secretId)) this.#uses.set(secretId, usedAt);
      throw error;
    }
  }
}
