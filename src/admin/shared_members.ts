/** Request members and parameters that several routes share. */
import { z } from 'zod';
import { INVISIBLE_REFUSED, isVisible } from '../base/visible_text.ts';

const identifier = (what: string) =>
  z.string().min(1, 'must not be empty').max(512, 'must not be longer than 512 characters').describe(what);

export const ClientParams = z.strictObject({ client_id: identifier('The client.') });
export const AccountParams = z.strictObject({ account_id: identifier('The account.') });

export const Timestamp = z.string().meta({ format: 'date-time', examples: ['2026-01-31T08:00:00.000Z'] });

export const search = (what: string) =>
  z.string().min(1, 'must not be empty').max(200, 'must not be longer than 200 characters').optional().describe(what);

/**
 * Parses a query parameter as a number. Accepts decimal digits only: `Number` would also accept `1e2`, `0x10`, ` 5` and
 * an empty text.
 */
export const decimal = <Schema extends z.ZodType>(number: Schema) =>
  z.preprocess((text) => (typeof text === 'string' && /^\d{1,15}$/.test(text) ? Number(text) : text), number);

/** The reason for a change, stored in the audit trail. */
export const Reason = z
  .string()
  .trim()
  .min(1, 'must not be empty')
  .max(500, 'must not be longer than 500 characters')
  .refine(isVisible, INVISIBLE_REFUSED)
  .describe('The reason, stored in the audit trail.');

export function timestamp(time: Date): string {
  return time.toISOString();
}

export function timestampOrNull(time: Date | null | undefined): string | null {
  return time?.toISOString() ?? null;
}

/** Returns the schema of a JSON merge patch (RFC 7396): every member is optional, and null removes it. */
export function mergePatchOf(object: z.ZodObject) {
  const members = Object.entries(object.shape).map(([name, member]) => [
    name,
    withoutDefault(member as z.ZodType)
      .nullable()
      .optional(),
  ]);
  return z.strictObject(Object.fromEntries(members) as Record<string, z.ZodOptional<z.ZodNullable>>);
}

/** Removes defaults, so that a member that the patch does not name keeps its value. */
function withoutDefault(member: z.ZodType): z.ZodType {
  return member instanceof z.ZodDefault || member instanceof z.ZodOptional
    ? withoutDefault(member.unwrap() as z.ZodType)
    : member;
}
