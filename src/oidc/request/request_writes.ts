/**
 * The changes of one protocol request. The library stores one thing after the other while it makes its answer; here
 * each write waits until the answer is made, and all of them are committed with the request's audit events in one
 * transaction before it leaves (endpoints.ts). So no transaction is open while keys are fetched, hashed or signed with,
 * and a request that is answered with 503 has changed nothing.
 */
import { errors, Provider } from 'oidc-provider';
import type { AuditEvent, Origin } from '../../audit/events.ts';
import type { AuditTrail } from '../../audit/trail.ts';
import { Unavailable } from '../../base/unavailable.ts';
import type { Database } from '../../db/connection.ts';
import { transact, waitForLocksAtMost } from '../../db/transaction.ts';
import { notesOf, type ReuseEvent } from './request_events.ts';
import type { PendingWrite, Write } from './pending_write.ts';

/** The adapter's read of the library's context: what the library stores for a request waits with that request. */
export async function writeWithRequest(
  database: Database,
  write: Write,
  { evenIfRefused = false, takeBack }: Partial<Omit<PendingWrite, 'write'>> = {},
): Promise<void> {
  const ctx = Provider.ctx;
  if (ctx) notesOf(ctx).writes.push({ write, evenIfRefused, takeBack });
  // no request of the library's is under way
  else await transact(database, write);
}

/** An answer leaves within this time; what can't be committed by then is not begun. */
const ANSWERED_WITHIN_MILLISECONDS = 5_000;
/** A connection and a lock may each be waited for as long as 2 s. */
const COMMIT_MILLISECONDS = 2_500;
const LEAST_LOCK_MILLISECONDS = 100;

/**
 * Commits all of it, or nothing. Throws an error of the library's where the request is to be refused after all, and
 * `Unavailable` where it `began` (of `performance.now()`) so long ago that its answer would be late.
 */
export async function commitTogether(
  { database, trail }: { readonly database: Database; readonly trail: AuditTrail },
  origin: Origin,
  began: number,
  { writes, events }: { readonly writes: readonly PendingWrite[]; readonly events: readonly AuditEvent[] },
): Promise<void> {
  if (writes.length === 0) return trail.record(origin, ...events);
  const left = (): number => ANSWERED_WITHIN_MILLISECONDS - (performance.now() - began);
  if (left() < COMMIT_MILLISECONDS) throw new Unavailable('The database is too slow for this request.');
  await transact(database, async (tx) => {
    if (left() < COMMIT_MILLISECONDS) await waitForLocksAtMost(tx, Math.max(LEAST_LOCK_MILLISECONDS, left()));
    for (const { write } of writes) await write(tx);
    await trail.recordAllIn(
      tx,
      events.map((event) => ({ origin, event })),
    );
  });
}

/** Another request has used up what may be used once, and this one has lost. */
export class LostRace extends Error {
  /** What this request is answered with. */
  readonly refusal: errors.OIDCProviderError;
  readonly event: ReuseEvent | undefined;
  /** The grant that ends with all its tokens, where there is one. */
  readonly grantId: string | undefined;

  constructor(refusal: errors.OIDCProviderError, event?: ReuseEvent, grantId?: string) {
    super(refusal.message);
    this.refusal = refusal;
    this.event = event;
    this.grantId = grantId;
  }
}

/**
 * Another request has gone on from the same interaction, or its person's sessions have ended meanwhile (a changed password):
 * nothing of this request is kept, its login neither.
 */
export class InteractionGone extends LostRace {
  constructor() {
    super(new errors.SessionNotFound('interaction session not found'));
  }
}

/** An error of the library's that a write has thrown: the client was revoked meanwhile, say. */
export function asRefusal(error: unknown): LostRace | undefined {
  return error instanceof errors.OIDCProviderError ? new LostRace(error) : undefined;
}
