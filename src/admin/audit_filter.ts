/** Query parameters that filter the audit trail in the admin API, and their conversion to an `EventFilter`. */
import { isIP } from 'node:net';
import { z } from 'zod';
import { EVENT_NAMES, type EventName } from '../audit/catalogue.ts';
import type { EventFilter } from '../audit/query.ts';
import { timeOfRequestId } from '../base/ids.ts';
import { invalid } from '../base/refusal.ts';
import { DAY_SECONDS } from '../base/clock.ts';

export const time = (what: string) =>
  z.iso
    .datetime({ offset: true, error: 'must be a time such as 2026-01-31T08:00:00Z' })
    .max(40)
    .optional()
    .describe(what);

const identifier = (what: string) =>
  z.string().min(1, 'must not be empty').max(512, 'must not be longer than 512 characters').optional().describe(what);

const NAMES_AT_MOST = 20;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

export const auditFilters = {
  request_id: z
    .string()
    .regex(UUID, 'must be a request id, as in the X-Request-Id response header')
    .optional()
    .describe('Only events of this request, or the entry that counts it as the first or last refusal of a series.'),
  client_id: identifier('Only events about this client.'),
  account_id: identifier('Only events about this account.'),
  actor_type: z
    .enum(['client', 'account', 'system', 'anonymous'], 'must be client, account, system or anonymous')
    .optional()
    .describe('Only events caused by this type of actor. Needs from.'),
  actor_id: identifier('Only events caused by this client or account. Needs from.'),
  address: z
    .string()
    .refine((text) => isIP(text) !== 0, 'must be an IPv4 or IPv6 address')
    .optional()
    .describe('Only events of requests from this address. Needs from.'),
  resource: identifier(
    'Only events about the object with this identifier: a client, an account, an API, a policy, a trusted issuer, a type, a key, a secret, a session, a grant ... Needs from.',
  ),
  event: z
    .string()
    .max(2_000, 'must not be longer than 2,000 characters')
    .refine((text) => text.split(',').length <= NAMES_AT_MOST, `must not have more than ${NAMES_AT_MOST} names`)
    .refine((text) => text.split(',').every((name) => namesFor(name).length > 0), {
      error: ({ input }) => `names an unknown event: ${unknownName(String(input))}`,
    })
    .optional()
    .describe(
      'Only events with these names, separated by commas. client.* matches every name that begins with client.',
    ),
  outcome: z
    .enum(['success', 'refused'], 'must be success or refused')
    .optional()
    .describe('Only events with this outcome. Requires from, unless event, client_id or account_id is given.'),
  from: time('Events at this time or later.'),
  to: time('Events before this time.'),
};
export type Filters = z.output<z.ZodObject<typeof auditFilters>>;

/** Returns the event names that a name or a prefix such as `client.*` matches. */
function namesFor(name: string): readonly EventName[] {
  const prefix = /^([a-z_]+\.)\*$/.exec(name)?.[1];
  return EVENT_NAMES.filter((known) => (prefix === undefined ? known === name : known.startsWith(prefix)));
}

function unknownName(text: string): string {
  return (text.split(',').find((name) => namesFor(name).length === 0) ?? '').slice(0, 100);
}

/** No index covers these filters, so the query reads every event of the time range. */
const UNINDEXED_FILTERS = ['actor_type', 'actor_id', 'address', 'resource'] as const;
const LONGEST_RANGE_DAYS = 31;

/** Converts the query to a filter. Refuses filters without an index unless the time range is at most 31 days. */
export function toFilter(query: Filters, now: Date): EventFilter {
  const { request_id, client_id, account_id, event, from, to } = query;
  const range = { from: timeOf(from), to: timeOf(to) };
  if (request_id === undefined) {
    const filter = UNINDEXED_FILTERS.find((name) => query[name] !== undefined);
    if (filter) requireRange(filter, range, now);
    const isNarrow = client_id !== undefined || account_id !== undefined || event !== undefined;
    if (query.outcome !== undefined && !isNarrow) requireRange('outcome', range, now);
  }
  const askedAt = request_id === undefined ? undefined : timeOfRequestId(request_id);
  if (request_id !== undefined && !askedAt) requireRange('a request_id of an earlier version', range, now);
  return {
    request: request_id === undefined ? undefined : { id: request_id, at: askedAt },
    clientId: client_id,
    accountId: account_id,
    actorType: query.actor_type,
    actorId: query.actor_id,
    address: query.address,
    about: query.resource,
    events: event === undefined ? undefined : [...new Set(event.split(',').flatMap(namesFor))],
    outcome: query.outcome,
    ...range,
  };
}

function requireRange(filter: string, { from, to }: Pick<EventFilter, 'from' | 'to'>, now: Date): void {
  const earliest = (to ?? now).getTime() - LONGEST_RANGE_DAYS * DAY_SECONDS * 1_000;
  if (from && from.getTime() >= earliest) return;
  const until = to ? 'to' : 'now';
  throw invalid('from', `is required with ${filter} and must be at most ${LONGEST_RANGE_DAYS} days before ${until}`);
}

function timeOf(text: string | undefined): Date | undefined {
  return text === undefined ? undefined : new Date(text);
}
