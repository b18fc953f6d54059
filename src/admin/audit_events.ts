/** Route that reads the audit trail: one page as JSON, or a whole range as lines of JSON. */
import { Readable } from 'node:stream';
import { z } from 'zod';
import { EVENT_NAMES, type EventName } from '../audit/catalogue.ts';
import { readAllEvents, readEvents, type EventFilter, type RecordedEvent } from '../audit/query.ts';
import type { Reply } from '../http/route.ts';
import { findResource } from '../resources/resource_rows.ts';
import { auditFilters, toFilter } from './audit_filter.ts';
import { adminRoute, type AdminCall, type AdminRoute } from './admin_call.ts';
import { pageOf, paging, type List } from './cursors.ts';
import { Timestamp, timestamp } from './shared_members.ts';

const NDJSON = 'application/x-ndjson';

const EventView = z
  .strictObject({
    stream: z.string().describe('The node process that wrote the event.'),
    sequence: z.int().describe('Position in the stream.'),
    occurred_at: Timestamp,
    event: z.enum(EVENT_NAMES),
    outcome: z.enum(['success', 'refused']),
    actor: z
      .strictObject({ type: z.enum(['client', 'account', 'system', 'anonymous']), id: z.string().optional() })
      .describe('Who caused the event.'),
    client_id: z.string().nullable().describe('The client that the event is about.'),
    account_id: z.string().nullable().describe('The account that the event is about.'),
    address: z.string().nullable(),
    request_id: z.string().nullable(),
    details: z.record(z.string(), z.unknown()).describe('The members depend on the event.'),
  })
  .meta({ id: 'AuditEvent' });
type EventView = z.output<typeof EventView>;

const ListQuery = z.strictObject({
  ...paging,
  order: z
    .enum(['asc', 'desc'], 'must be asc or desc')
    .default('desc')
    .describe('desc means newest first. An export is always oldest first.'),
  ...auditFilters,
});
type ListQuery = z.output<typeof ListQuery>;

export const auditEventRoutes: readonly AdminRoute[] = [
  adminRoute({
    method: 'GET',
    path: '/audit-events',
    scope: 'audit:read',
    tag: 'audit',
    summary: 'Read the audit trail',
    description: `With Accept: ${NDJSON} the response is the whole range, one event per line, oldest first; limit and cursor are ignored.`,
    query: ListQuery,
    reply: { status: 200, description: 'A page of events.', body: pageOf(EventView), alternatives: [NDJSON] },
    handle: ({ query }, call) => (call.asksFor(NDJSON) ? exportAll(call, query) : list(call, query)),
  }),
];

/** An API may be named in another way than it is registered (RFC 3986, 6.2). */
async function filterOf({ dependencies: { database }, now }: AdminCall, query: ListQuery): Promise<EventFilter> {
  const filter = toFilter(query, now);
  const api = filter.about === undefined ? undefined : await findResource(database, filter.about);
  return api ? { ...filter, about: api.identifier } : filter;
}

type EventCursor = { readonly occurred_at: string; readonly stream: string; readonly sequence: string };

async function list(call: AdminCall, query: ListQuery) {
  const { limit, cursor, order, ...filters } = query;
  const events: List = { name: 'audit-events', filters: { order, ...filters } };
  const after = await call.openCursor<EventCursor>(events, cursor);
  const rows = await readEvents(call.dependencies.database, await filterOf(call, query), {
    order,
    limit: limit + 1,
    after: after && { exactly: after.occurred_at, stream: after.stream, sequence: Number(after.sequence) },
  });
  return call.page(events, {
    rows,
    limit,
    position: ({ exactly, stream, sequence }): EventCursor => ({
      occurred_at: exactly,
      stream,
      sequence: String(sequence),
    }),
    view: eventView,
  });
}

/** Records the export before it sends the first byte, because a reader who disconnects early has also read events. */
async function exportAll(call: AdminCall, query: ListQuery): Promise<Reply<never>> {
  const { database, trail } = call.dependencies;
  // events written during this export, including its own event, belong to the next export
  const filter = { ...(await filterOf(call, query)), to: query.to ? new Date(query.to) : call.now };
  const { limit: _, cursor: __, order: ___, ...narrowed } = query;
  const details = { ...narrowed, from: query.from ?? null, to: timestamp(filter.to) };
  await trail.record(call.origin, { event: 'audit.exported', outcome: 'success', details });
  return { status: 200, headers: { 'Content-Type': NDJSON }, stream: Readable.from(lines(), { highWaterMark: 1 }) };

  async function* lines(): AsyncGenerator<string> {
    for await (const batch of readAllEvents(database, filter)) {
      yield batch.map((one) => `${JSON.stringify(eventView(one))}\n`).join('');
    }
  }
}

function eventView(event: RecordedEvent): EventView {
  return {
    stream: event.stream,
    sequence: event.sequence,
    occurred_at: timestamp(event.occurredAt),
    // the event may come from another version of this server and have a name that this one does not know
    event: event.event as EventName,
    outcome: event.outcome,
    actor: { type: event.actorType, ...(event.actorId !== null && { id: event.actorId }) },
    client_id: event.clientId,
    account_id: event.accountId,
    address: event.address,
    request_id: event.requestId,
    details: { ...event.details },
  };
}
