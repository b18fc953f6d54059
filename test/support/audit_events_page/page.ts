/** docs/audit-events.md, made from the event catalogue. `npm run docs:events` writes it; a test compares. */
import { z } from 'zod';
import { CATALOGUE, detailsSchema, SECTIONS, type EventName } from '../../../src/audit/catalogue.ts';

export const PAGE = new URL('../../../docs/audit-events.md', import.meta.url);

const INTRODUCTION = `# Events of the audit trail

<!-- Made from src/audit/catalogue.ts by \`npm run docs:events\`: change it there. -->

Every entry of the trail has one of these names in \`event\`, and holds in \`details\` what is listed here and nothing else. \`outcome\` is \`success\` or \`refused\`. No detail is ever a secret. Times are UTC, as in \`2026-01-31T08:00:00.000Z\`. [audit-trail.md](audit-trail.md) says how the trail is read, proven and kept.

An event that is _counted when repeated_ has an entry of its own for the first 5 of a kind per client, network and hour. One entry stands for those that follow and says so in \`repeated\`: \`count\`, \`first_request_id\`, \`last_request_id\`, \`first_at\`, \`last_at\` and \`network\` (an IPv4 address, 64 bits of IPv6, or null for many). Its other details are those of the last one.
`;

export function auditEventsPage(): string {
  return [INTRODUCTION, ...Object.entries(SECTIONS).map(([title, entries]) => section(title, entries))].join('\n');
}

function section(title: string, entries: object): string {
  const events = (Object.keys(entries) as EventName[]).map(describeEvent);
  return [`## ${title}\n`, ...events].join('\n');
}

function describeEvent(name: EventName): string {
  const { when, outcomes, counted } = CATALOGUE[name];
  const outcome = `Outcome: ${outcomes.map((one) => `\`${one}\``).join(' or ')}${counted ? ', counted when repeated' : ''}.`;
  const { properties = {}, required = [] } = z.toJSONSchema(detailsSchema(name));
  const members = Object.entries(properties)
    .filter(([member]) => member !== 'repeated')
    .map(([member, schema]) => describeMember(member, schema as JsonSchema, required.includes(member)));
  return [`### \`${name}\`\n`, `${when} ${outcome}\n`, ...(members.length > 0 ? [`${members.join('\n')}\n`] : [])].join(
    '\n',
  );
}

interface JsonSchema {
  readonly type?: string;
  readonly format?: string;
  readonly enum?: readonly string[];
  readonly anyOf?: readonly JsonSchema[];
  readonly description?: string;
  readonly properties?: Readonly<Record<string, JsonSchema>>;
}

function describeMember(name: string, schema: JsonSchema, required: boolean): string {
  const kind = `${kindOf(schema)}${required ? '' : ', optional'}`;
  return `- \`${name}\` (${kind})${schema.description === undefined ? '' : `: ${schema.description}`}`;
}

function kindOf({ type, format, enum: values, anyOf, properties }: JsonSchema): string {
  if (anyOf) return anyOf.map(kindOf).join(' or ');
  if (values) return values.map((value) => `\`${value}\``).join(', ');
  if (format === 'date-time') return 'time';
  if (properties)
    return `object of ${Object.keys(properties)
      .map((member) => `\`${member}\``)
      .join(', ')}`;
  const words: Readonly<Record<string, string>> = {
    string: 'text',
    integer: 'number',
    boolean: 'true or false',
    array: 'list',
  };
  return words[type ?? ''] ?? type ?? 'anything';
}
