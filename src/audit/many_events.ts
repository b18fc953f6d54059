/** Records the events of a change that concerns many accounts. */
import { BATCH_LIMIT } from './chain.ts';
import type { AuditEvent } from './events.ts';
import type { UnitOfWork } from './unit_of_work.ts';

/** Records all events in the transaction, in batches as large as those of the queue. */
export async function recordMany({ tx, trail, origin }: UnitOfWork, events: readonly AuditEvent[]): Promise<void> {
  for (let first = 0; first < events.length; first += BATCH_LIMIT) {
    const batch = events.slice(first, first + BATCH_LIMIT);
    await trail.recordAllIn(
      tx,
      batch.map((event) => ({ origin, event })),
    );
  }
}
