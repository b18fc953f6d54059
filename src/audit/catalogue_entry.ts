/**
 * Constructors for the entries of the event catalogue: when the event happens, its outcomes, and its details by name.
 */
import { z } from 'zod';

export type Details = Readonly<Record<string, z.ZodType>>;
type Outcome = 'success' | 'refused';

interface Entry<O extends Outcome = Outcome, D extends Details = Details> {
  readonly when: string;
  readonly outcomes: readonly O[];
  readonly details: D;
  /** Whether repeated refusals of one sender are counted in one row (repeated_refusals.ts). */
  readonly counted: boolean;
}

/** An event for an effect or a decision that is in force. */
export function done<const D extends Details>(when: string, details: D): Entry<'success', D> {
  return { when, outcomes: ['success'], details, counted: false };
}

/** An event for a refusal or a failure. Each occurrence gets its own row. */
export function alarm<const D extends Details>(when: string, details: D): Entry<'refused', D> {
  return { when, outcomes: ['refused'], details, counted: false };
}

/** An event for a refused request. A sender without any right can cause as many as it sends, so they are counted. */
export function refusal<const D extends Details>(when: string, details: D) {
  return { when, outcomes: ['refused'], details: { ...details, repeated }, counted: true } as const;
}

/** One event name for success and refusal; `outcome` says which of the two happened. */
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
    count: z.int().min(1).describe('The number of refusals that this row counts.'),
    first_request_id: z.string().nullable(),
    last_request_id: z.string().nullable(),
    first_at: time,
    last_at: time,
    network: z
      .string()
      .nullable()
      .describe('The network of the senders: an IPv4 address, or the first 64 bits of an IPv6 address.'),
  })
  .optional()
  .describe('Only in a row that counts several refusals; the other details are those of the last one.');
