/**
 * Revokes JWT access tokens one by one (RFC 7009), on all nodes. Simultaneous revocations share a transaction, which
 * costs the same for one and for many. A token's row, its audit event and its entry in the invalidation log are
 * committed together.
 */
import type { Origin } from '../../audit/events.ts';
import type { AuditTrail } from '../../audit/trail.ts';
import { outsideTimeBudget, withinTimeBudget } from '../../base/time_budget.ts';
import type { InvalidationFollower } from '../../invalidation/follower.ts';
import { recordChanges } from '../../invalidation/log.ts';
import type { Database, Tx } from '../../db/connection.ts';
import { transact } from '../../db/transaction.ts';
import type { AccessTokenClaims } from '../../keys/token_verifier.ts';

export interface RevocationsSettings {
  readonly database: Database;
  readonly trail: AuditTrail;
  readonly changes: InvalidationFollower;
}

export interface Revocation {
  readonly claims: AccessTokenClaims;
  readonly origin: Origin;
  readonly now: Date;
}

interface Waiting extends Revocation {
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

const BATCH_LIMIT = 100;

export class Revocations {
  readonly #settings: RevocationsSettings;
  readonly #queue: Waiting[] = [];
  #writing = false;

  constructor(settings: RevocationsSettings) {
    this.#settings = settings;
  }

  /**
   * Resolves when this node refuses the token and the other nodes can read of the revocation. Revoking a token twice
   * changes nothing. Rejects with `Unavailable` if that takes too long; the token may be revoked later nevertheless.
   */
  revoke(revocation: Revocation): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#queue.push({ ...revocation, resolve, reject });
    if (!this.#writing) {
      this.#writing = true;
      // after all requests that have arrived by now are read
      setImmediate(() => void outsideTimeBudget(() => this.#writeAll()));
    }
    return withinTimeBudget(promise);
  }

  async #writeAll(): Promise<void> {
    while (this.#queue.length > 0) {
      const batch = this.#queue.splice(0, BATCH_LIMIT);
      try {
        await transact(this.#settings.database, (tx) => this.#write(tx, batch));
        await this.#settings.changes.catchUp();
        for (const { resolve } of batch) resolve();
      } catch (error) {
        for (const { reject } of batch) reject(error);
      }
    }
    this.#writing = false;
  }

  async #write(tx: Tx, batch: readonly Revocation[]): Promise<void> {
    const { now } = batch[0]!;
    const byId = new Map(batch.map((revocation) => [revocation.claims.jti, revocation]));
    const ended = await tx
      .insertInto('revoked_tokens')
      .values(
        // sorted, so that two nodes that revoke the same tokens do not deadlock
        [...byId.values()]
          .map(({ claims: { jti, client_id, exp }, now: revoked_at }) => ({
            jti,
            client_id,
            revoked_at,
            expires_at: new Date(exp * 1000),
          }))
          .sort((a, b) => (a.jti < b.jti ? -1 : 1)),
      )
      .onConflict((clash) => clash.doNothing())
      .returning('jti')
      .execute();
    if (ended.length === 0) return;
    const records = ended.map(({ jti }) => {
      const { origin, claims } = byId.get(jti)!;
      const details = { token_type: 'access_token', jti };
      return {
        origin,
        event: { event: 'token.revoked', outcome: 'success', clientId: claims.client_id, details } as const,
      };
    });
    await this.#settings.trail.recordAllIn(tx, records);
    await recordChanges(
      tx,
      ended.map(({ jti }) => ({ topic: 'revoked_token', key: jti })),
      now,
    );
  }
}
