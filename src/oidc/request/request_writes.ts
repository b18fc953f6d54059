/**
 * The database writes of one protocol request. The library stores objects one by one while it makes its answer. Here
 * each write is queued until the answer is made, and endpoints.ts commits all of them with the request's audit events
 * in one transaction before it sends the answer. So no transaction is open while keys are fetched or tokens are hashed
 * and signed, and a request that is answered with 503 has changed nothing.
 */
import { errors, Provider } from 'oidc-provider';
import type { AuditEvent, Origin } from '../../audit/events.ts';
import type { AuditTrail } from '../../audit/trail.ts';
import type { Database } from '../../db/connection.ts';
import { transact } from '../../db/transaction.ts';
import { notesOf, type ReuseEvent } from './request_events.ts';
import type { PendingWrite, Write } from './pending_write.ts';

interface EndsGrant {
  /**
   * True if the write deletes a grant. It then runs before the others: a request that uses a token locks its grant first
   * and the token second, so a transaction that locked them in the other order could deadlock with it.
   */
  readonly endsGrant?: boolean;
}

/**
 * Queues a write with the library's current request, or runs it at once if there is none. The adapter has no argument
 * for the request, so this reads it from the library's context.
 */
export async function writeWithRequest(
  database: Database,
  write: Write,
  { evenIfRefused = false, takeBack, endsGrant = false }: Partial<Omit<PendingWrite, 'write'>> & EndsGrant = {},
): Promise<void> {
  const ctx = Provider.ctx;
  // outside a request of the library
  if (!ctx) return transact(database, write);
  const { writes } = notesOf(ctx);
  const pending = { write, evenIfRefused, takeBack };
  if (endsGrant) writes.unshift(pending);
  else writes.push(pending);
}

/**
 * Commits all writes and events in one transaction, or none. Throws one of the library's errors if a write refuses the
 * request, and `Unavailable` if the request has waited so long that its answer would be late (time_budget.ts).
 */
export async function commitTogether(
  { database, trail }: { readonly database: Database; readonly trail: AuditTrail },
  origin: Origin,
  { writes, events }: { readonly writes: readonly PendingWrite[]; readonly events: readonly AuditEvent[] },
): Promise<void> {
  if (writes.length === 0) return trail.record(origin, ...events);
  await transact(database, async (tx) => {
    for (const { write } of writes) await write(tx);
    await trail.recordAllIn(
      tx,
      events.map((event) => ({ origin, event })),
    );
  });
}

/** Another request has used the single-use code or token first, so this request is refused. */
export class LostRace extends Error {
  /** The error of the answer. */
  readonly refusal: errors.OIDCProviderError;
  readonly event: ReuseEvent | undefined;
  /** The grant to end with all its tokens, if there is one. */
  readonly grantId: string | undefined;

  constructor(refusal: errors.OIDCProviderError, event?: ReuseEvent, grantId?: string) {
    super(refusal.message);
    this.refusal = refusal;
    this.event = event;
    this.grantId = grantId;
  }
}

/**
 * Another request has already continued the interaction, or the person's sessions have ended since (for example, by a
 * changed password). The whole request is discarded, including its login.
 */
export class InteractionGone extends LostRace {
  constructor() {
    super(new errors.SessionNotFound('interaction session not found'));
  }
}

/** Wraps a library error that a write has thrown; for example, if the client was revoked during the request. */
export function asRefusal(error: unknown): LostRace | undefined {
  return error instanceof errors.OIDCProviderError ? new LostRace(error) : undefined;
}
