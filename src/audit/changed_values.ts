/** Compares an object before and after a change, for the details of an audit event. */
import { canonical } from './canonical.ts';

/** The members that differ after a change, with their values before and after it. */
export interface ChangedValues {
  readonly before: Readonly<Record<string, unknown>>;
  readonly after: Readonly<Record<string, unknown>>;
}

/** In characters of JSON: one value, and all values of an event together. */
const LONGEST_VALUE = 2_000;
const LONGEST_IN_ALL = 20_000;

/**
 * Compares only the members in `recorded`; that list never has members with secret or personal values. An absent member
 * has no value on its side. A value that is too long is cut and marked as cut.
 */
export function changedValues(recorded: readonly string[], old: object, now: object): ChangedValues {
  const [before, after]: [Record<string, unknown>, Record<string, unknown>] = [{}, {}];
  let left = LONGEST_IN_ALL;
  const keep = (values: Record<string, unknown>, member: string, text: string | undefined): void => {
    if (text === undefined) return;
    const limit = Math.min(LONGEST_VALUE, left);
    values[member] = text.length <= limit ? JSON.parse(text) : cut(text, limit);
    left -= Math.min(text.length, limit);
  };
  for (const member of recorded) {
    const [was, is] = [textOf(old, member), textOf(now, member)];
    if (was === is) continue;
    keep(before, member, was);
    keep(after, member, is);
  }
  return { before, after };
}

/** Canonical text, because the database returns members in another order. null counts as absent. */
function textOf(values: object, member: string): string | undefined {
  const value: unknown = (values as Readonly<Record<string, unknown>>)[member];
  return value === undefined || value === null ? undefined : canonical(value);
}

function cut(text: string, limit: number): string {
  return `${text.slice(0, limit)}… (cut, of ${text.length} characters)`;
}
