/** The audit trail: a page of it, or all of a range as lines of JSON. */
import { Readable } from 'node:stream';
import { z } from 'zod';
import { EVENT_NAMES, type EventName } from '../audit/catalogue.ts';
import { readAllEvents, readEvents, type RecordedEvent } from '../audit/query.ts';
import type { Reply } from '../http/route.ts';
import { auditFilters, toFilter } from './audit_filter.ts';
import { adminRoute, type AdminCall, type AdminRoute } from './call.ts';
import { pageOf, paging, type List } from './cursors.ts';
import { Timestamp, timestamp } from './members.ts';

const NDJSON = 'application/x-ndjson';

const EventView = z
  .strictObject({
    stream: z.string().describe('The node process that wrote it.'),
    sequence: z.int().describe('Its place in the stream.'),
    occurred_at: Timestamp,
    event: z.enum(EVENT_NAMES),
    outcome: z.enum(['success', 'refused']),
    actor: z
      .strictObject({ type: z.enum(['client', 'account', 'system', 'anonymous']), id: z.string().optional() })
      .describe('Who did it.'),
    client_id: z.string().nullable().describe('The client that it is about.'),
    account_id: z.string().nullable().describe('The account that it is about.'),
    address: z.string().nullable(),
    request_id: z.string().nullable(),
    details: z.record(z.string(), z.unknown()).describe('What it may hold depends on the event.'),
  })
  .meta({ id: 'AuditEvent' });
type EventView = z.output<typeof EventView>;

const ListQuery = z.strictObject({
  ...paging,
  order: z
    .enum(['asc', 'desc'], 'must be asc or desc')
    .default('desc')
    .describe('desc: newest first. An export is always oldest first.'),
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
    description: `With Accept: ${NDJSON} the whole range comes as one event a line, oldest first, whatever limit and cursor say.`,
    query: ListQuery,
    reply: { status: 200, description: 'A page of events.', body: pageOf(EventView), alternatives: [NDJSON] },
    handle: ({ query }, call) => (call.asksFor(NDJSON) ? exportAll(call, query) : list(call, query)),
  }),
];

type EventCursor = { readonly occurred_at: string; readonly stream: string; readonly sequence: string };

async function list(call: AdminCall, query: ListQuery) {
  const { limit, cursor, order, ...filters } = query;
  const events: List = { name: 'audit-events', filters: { order, ...filters } };
  const after = await call.openCursor<EventCursor>(events, cursor);
  const rows = await readEvents(call.dependencies.database, toFilter(query, call.now), {
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

/** What is exported is on record before the first byte leaves: a reader who hangs up has read something, too. */
async function exportAll(call: AdminCall, query: ListQuery): Promise<Reply<never>> {
  const { database, trail } = call.dependencies;
  // what is written while we read, this export's own event among it, is for the next one
  const filter = { ...toFilter(query, call.now), to: query.to ? new Date(query.to) : call.now };
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
    // of another version's name, too
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
