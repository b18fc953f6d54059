import { canonical } from './canonical.ts';

/** What a change replaced: the members that are different now, with their values before and after it. */
export interface ChangedValues {
  readonly before: Readonly<Record<string, unknown>>;
  readonly after: Readonly<Record<string, unknown>>;
}

/** In characters of JSON: one value, and all values of an event together. */
const LONGEST_VALUE = 2_000;
const LONGEST_IN_ALL = 20_000;

/**
 * Compares the `recorded` members, and no others: a member whose values may be secret or personal is in no such list. A
 * member that is absent has no value on its side. A value that is too long is cut, and says so.
 */
export function changedValues(recorded: readonly string[], old: object, now: object): ChangedValues {
  const [before, after]: [Record<string, unknown>, Record<string, unknown>] = [{}, {}];
  let left = LONGEST_IN_ALL;
  const keep = (values: Record<string, unknown>, member: string, text: string | undefined): void => {
    if (text === undefined) return;
    const room = Math.min(LONGEST_VALUE, left);
    values[member] = text.length <= room ? JSON.parse(text) : cut(text, room);
    left -= Math.min(text.length, room);
  };
  for (const member of recorded) {
    const [was, is] = [textOf(old, member), textOf(now, member)];
    if (was === is) continue;
    keep(before, member, was);
    keep(after, member, is);
  }
  return { before, after };
}

/** The database gives members back in another order. `undefined` and null are the same: nothing. */
function textOf(values: object, member: string): string | undefined {
  const value: unknown = (values as Readonly<Record<string, unknown>>)[member];
  return value === undefined || value === null ? undefined : canonical(value);
}

function cut(text: string, room: number): string {
  return `${text.slice(0, room)}… (cut, of ${text.length} characters)`;
}
