/** Reads the trail: a page of it by what it is about, or all of a range for an export. */
import { sql } from 'kysely';
import type { Reader } from '../db/connection.ts';
import { exactTime } from './links.ts';

export interface RecordedEvent {
  readonly stream: string;
  readonly sequence: number;
  readonly occurredAt: Date;
  /** The same with all that the database holds of it. */
  readonly exactly: string;
  readonly event: string;
  readonly outcome: 'success' | 'refused';
  readonly actorType: 'client' | 'account' | 'system' | 'anonymous';
  readonly actorId: string | null;
  readonly accountId: string | null;
  readonly clientId: string | null;
  readonly address: string | null;
  readonly requestId: string | null;
  readonly details: Readonly<Record<string, unknown>>;
}

export interface EventFilter {
  /** Whom the event is about, which is not always who caused it. */
  readonly clientId?: string | undefined;
  readonly accountId?: string | undefined;
  readonly event?: string | undefined;
  readonly outcome?: 'success' | 'refused' | undefined;
  /** From this time on. */
  readonly from?: Date | undefined;
  /** Before this time. */
  readonly to?: Date | undefined;
}

/** Where an event stands: by time, and among those of one moment by stream and sequence, which no two share. */
export type EventPosition = Pick<RecordedEvent, 'exactly' | 'stream' | 'sequence'>;

export interface EventPage {
  readonly order: 'asc' | 'desc';
  readonly limit: number;
  /** The last event of the page before. */
  readonly after?: EventPosition | undefined;
}

export async function readEvents(reader: Reader, filter: EventFilter, page: EventPage): Promise<RecordedEvent[]> {
  const { order, limit, after } = page;
  let query = reader
    .selectFrom('audit_events')
    .selectAll()
    .select(exactTime('occurred_at').as('exactly'))
    .orderBy('occurred_at', order)
    .orderBy('stream', order)
    .orderBy('sequence', order)
    .limit(limit);
  if (filter.clientId !== undefined) query = query.where('client_id', '=', filter.clientId);
  if (filter.accountId !== undefined) query = query.where('account_id', '=', filter.accountId);
  if (filter.event !== undefined) query = query.where('event', '=', filter.event);
  if (filter.outcome !== undefined) query = query.where('outcome', '=', filter.outcome);
  if (filter.from !== undefined) query = query.where('occurred_at', '>=', filter.from);
  if (filter.to !== undefined) query = query.where('occurred_at', '<', filter.to);
  if (after) {
    query = query.where((row) =>
      row(
        row.refTuple('occurred_at', 'stream', 'sequence'),
        order === 'asc' ? '>' : '<',
        row.tuple(sql<Date>`${after.exactly}::timestamptz`, after.stream, after.sequence),
      ),
    );
  }
  return (await query.execute()).map((row) => ({
    stream: row.stream,
    sequence: row.sequence,
    occurredAt: row.occurred_at,
    exactly: row.exactly,
    event: row.event,
    outcome: row.outcome,
    actorType: row.actor_type,
    actorId: row.actor_id,
    accountId: row.account_id,
    clientId: row.client_id,
    address: row.address,
    requestId: row.request_id,
    details: row.details,
  }));
}

const BATCH = 500;

/** Every event that the filter lets through, oldest first, a batch at a time and each batch only when it is asked for. */
export async function* readAllEvents(reader: Reader, filter: EventFilter): AsyncGenerator<RecordedEvent[], void, void> {
  let after: EventPosition | undefined;
  for (;;) {
    const batch = await readEvents(reader, filter, { order: 'asc', limit: BATCH, after });
    if (batch.length > 0) yield batch;
    if (batch.length < BATCH) return;
    after = batch.at(-1);
  }
}
