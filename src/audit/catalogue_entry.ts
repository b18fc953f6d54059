/** What an entry of the event catalogue is made of: a sentence that says when, the outcomes, and the details by name. */
import { z } from 'zod';

export type Details = Readonly<Record<string, z.ZodType>>;
type Outcome = 'success' | 'refused';

interface Entry<O extends Outcome = Outcome, D extends Details = Details> {
  readonly when: string;
  readonly outcomes: readonly O[];
  readonly details: D;
  /** Whether many of one sender become one row (repeated_refusals.ts). */
  readonly counted: boolean;
}

/** Something was done or decided, and is in force. */
export function done<const D extends Details>(when: string, details: D): Entry<'success', D> {
  return { when, outcomes: ['success'], details, counted: false };
}

/** Something was refused or went wrong, and each time counts for itself. */
export function alarm<const D extends Details>(when: string, details: D): Entry<'refused', D> {
  return { when, outcomes: ['refused'], details, counted: false };
}

/** A request was refused. A sender without any right can cause as many as it likes. */
export function refusal<const D extends Details>(when: string, details: D) {
  return { when, outcomes: ['refused'], details: { ...details, repeated }, counted: true } as const;
}

/** One name for what was done and for what was refused; the outcome says which. */
export function doneOrRefused<const D extends Details>(when: string, details: D) {
  return { when, outcomes: ['success', 'refused'], details: { ...details, repeated }, counted: true } as const;
}

export const text = z.string();
export const number = z.number();
export const flag = z.boolean();
export const texts = z.array(z.string()).readonly();
/** ISO 8601 in UTC, with milliseconds. */
export const time = z.string().meta({ format: 'date-time' });

const repeated = z
  .strictObject({
    count: z.int().min(1).describe('How many refusals this row stands for.'),
    first_request_id: z.string().nullable(),
    last_request_id: z.string().nullable(),
    first_at: time,
    last_at: time,
    network: z.string().nullable().describe('Where they came from: an IPv4 address, or 64 bits of IPv6.'),
  })
  .optional()
  .describe('Only in a row that stands for several refusals; the other details are those of the last one.');
