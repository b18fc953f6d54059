/** Holds every event that a node has recorded against the event catalogue. */
import { CATALOGUE, detailsSchema, type EventName } from '../../../src/audit/catalogue.ts';

interface LoggedEvent {
  readonly event: EventName;
  readonly outcome: 'success' | 'refused';
  readonly details: Readonly<Record<string, unknown>>;
}

/** The node's log has each entry as a line; throws for the first one that its entry in the catalogue does not allow. */
export function demandCataloguedEvents(log: readonly string[]): void {
  const schemas = new Map<EventName, ReturnType<typeof detailsSchema>>();
  for (const line of log) {
    if (!line.includes('"audit":{')) continue;
    const { audit } = JSON.parse(line) as { audit?: LoggedEvent };
    if (!audit) continue;
    const problem = problemOf(audit, schemas);
    if (problem !== undefined) throw new Error(`The catalogue does not allow this event (${problem}): ${line}`);
  }
}

function problemOf(
  { event, outcome, details }: LoggedEvent,
  schemas: Map<EventName, ReturnType<typeof detailsSchema>>,
): string | undefined {
  if (!Object.hasOwn(CATALOGUE, event)) return 'unknown name';
  if (!(CATALOGUE[event].outcomes as readonly string[]).includes(outcome)) return 'other outcome';
  const schema = schemas.get(event) ?? detailsSchema(event);
  schemas.set(event, schema);
  const { error } = schema.safeParse(details);
  return error && error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`).join('; ');
}
