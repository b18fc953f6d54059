/** Reads the trail: a page of events that match a filter, or all events of a range for an export. */
import { sql, type RawBuilder, type Selectable, type SelectQueryBuilder } from 'kysely';
import { addSeconds, DAY_SECONDS } from '../base/clock.ts';
import type { Reader } from '../db/connection.ts';
import type { Tables } from '../db/tables.ts';
import { COUNTED_NAMES, type EventName } from './catalogue.ts';
import { exactTime } from './link_rows.ts';

export interface RecordedEvent {
  readonly stream: string;
  readonly sequence: number;
  readonly occurredAt: Date;
  /** `occurredAt` with the microseconds that the database holds. */
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
  /** The request's id, and the time in the id, if the id has one. */
  readonly request?: { readonly id: string; readonly at: Date | undefined } | undefined;
  /** The client and the account that the event is about. The actor may be another one. */
  readonly clientId?: string | undefined;
  readonly accountId?: string | undefined;
  /** The actor that caused the event. */
  readonly actorType?: RecordedEvent['actorType'] | undefined;
  readonly actorId?: string | undefined;
  readonly address?: string | undefined;
  /** The identifier of any object that the event is about. */
  readonly about?: string | undefined;
  readonly events?: readonly EventName[] | undefined;
  readonly outcome?: 'success' | 'refused' | undefined;
  /** Inclusive. */
  readonly from?: Date | undefined;
  /** Exclusive. */
  readonly to?: Date | undefined;
}

/** An event's position in the order by time, stream and sequence. Stream and sequence together are unique. */
export type EventPosition = Pick<RecordedEvent, 'exactly' | 'stream' | 'sequence'>;

export interface EventPage {
  readonly order: 'asc' | 'desc';
  readonly limit: number;
  /** The last event of the previous page. */
  readonly after?: EventPosition | undefined;
}

export async function readEvents(reader: Reader, filter: EventFilter, page: EventPage): Promise<RecordedEvent[]> {
  const { order, limit, after } = page;
  const { request } = filter;
  const found = request ? reader.selectFrom(ofRequest(request).as('audit_events')) : reader.selectFrom('audit_events');
  let query = narrow(found.selectAll(), filter)
    .select(exactTime('occurred_at').as('exactly'))
    .orderBy('occurred_at', order)
    .orderBy('stream', order)
    .orderBy('sequence', order)
    .limit(limit);
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

type Events = SelectQueryBuilder<Tables, 'audit_events', Selectable<Tables['audit_events']>>;

function narrow(query: Events, filter: EventFilter): Events {
  const { clientId, accountId, actorType, actorId, address, about, events, outcome, from, to } = filter;
  const conditions: RawBuilder<boolean>[] = [];
  if (clientId !== undefined) conditions.push(sql`client_id = ${clientId}`);
  if (accountId !== undefined) conditions.push(sql`account_id = ${accountId}`);
  if (actorType !== undefined) conditions.push(sql`actor_type = ${actorType}`);
  if (actorId !== undefined) conditions.push(sql`actor_id = ${actorId}`);
  if (address !== undefined) conditions.push(sql`address = ${address}`);
  if (about !== undefined) conditions.push(isAbout(about));
  if (events) conditions.push(isOneOf(events));
  if (outcome !== undefined) conditions.push(sql`outcome = ${outcome}`);
  if (from) conditions.push(sql`occurred_at >= ${from}`);
  if (to) conditions.push(sql`occurred_at < ${to}`);
  return conditions.reduce((narrowed, condition) => narrowed.where(condition), query);
}

/** The partial indexes leave out `token.issued`. PostgreSQL uses them only if the condition says so. */
function isOneOf(events: readonly EventName[]): RawBuilder<boolean> {
  const named = sql<boolean>`event in (${sql.join(events)})`;
  return events.includes('token.issued') ? named : sql`(${named} and event <> 'token.issued')`;
}

/** An event is written while its request is answered, a count after its hour ends and a slow job has run. */
const BEFORE_SECONDS = 60;
const ANSWERED_WITHIN_SECONDS = 600;
const COUNTED_WITHIN_SECONDS = DAY_SECONDS;

/**
 * The time in the id limits the search: an index on ids would cost a write for each token. Two selections, because
 * PostgreSQL finds no good plan for both conditions at once.
 */
function ofRequest({ id, at }: NonNullable<EventFilter['request']>): RawBuilder<Selectable<Tables['audit_events']>> {
  const within = (seconds: number): RawBuilder<boolean> =>
    at
      ? sql`occurred_at between ${addSeconds(at, -BEFORE_SECONDS)} and ${addSeconds(at, seconds)}`
      : sql<boolean>`true`;
  return sql`(select * from audit_events where request_id = ${id} and ${within(ANSWERED_WITHIN_SECONDS)}
    union select * from audit_events where ${isOneOf(COUNTED_NAMES)} and details ? 'repeated'
      and (details->'repeated'->>'first_request_id' = ${id} or request_id = ${id})
      and ${within(COUNTED_WITHIN_SECONDS)})`;
}

/** Details that name the object of an event. */
const NAMING =
  'resource policy policy_id type issuer subject_issuer subject_resource link_id secret_id token_id kid session_id grant_id request message_id jti'.split(
    ' ',
  );

function isAbout(identifier: string): RawBuilder<boolean> {
  const named = NAMING.map((member) => sql`details->>${sql.lit(member)}`);
  return sql`${identifier} in (client_id, account_id, ${sql.join(named)})`;
}

const BATCH = 500;

/** Yields all events that match the filter, oldest first, in batches; reads each batch when the caller asks for it. */
export async function* readAllEvents(reader: Reader, filter: EventFilter): AsyncGenerator<RecordedEvent[], void, void> {
  let after: EventPosition | undefined;
  for (;;) {
    const batch = await readEvents(reader, filter, { order: 'asc', limit: BATCH, after });
    if (batch.length > 0) yield batch;
    if (batch.length < BATCH) return;
    after = batch.at(-1);
  }
}
