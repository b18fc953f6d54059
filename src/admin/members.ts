/** Members and parameters that many calls share. */
import { z } from 'zod';

const identifier = (what: string) =>
  z.string().min(1, 'must not be empty').max(512, 'must not be longer than 512 characters').describe(what);

export const ClientParams = z.strictObject({ client_id: identifier('The client.') });
export const AccountParams = z.strictObject({ account_id: identifier('The account.') });

export const Timestamp = z.string().meta({ format: 'date-time', examples: ['2026-01-31T08:00:00.000Z'] });

export const search = (what: string) =>
  z.string().min(1, 'must not be empty').max(200, 'must not be longer than 200 characters').optional().describe(what);

/**
 * A number in a query. Decimal digits alone are one: `Number` would also take `1e2`, `0x10`, ` 5` and an empty text.
 */
export const decimal = <Schema extends z.ZodType>(number: Schema) =>
  z.preprocess((text) => (typeof text === 'string' && /^\d{1,15}$/.test(text) ? Number(text) : text), number);

/** Why somebody did something, for whoever reads the trail later. */
export const Reason = z
  .string()
  .trim()
  .min(1, 'must not be empty')
  .max(500, 'must not be longer than 500 characters')
  .regex(/^[^\p{Cc}\p{Cf}]*$/u, 'must not contain control or invisible characters')
  .describe('Why, for the audit trail.');

export function timestamp(time: Date): string {
  return time.toISOString();
}

export function timestampOrNull(time: Date | null | undefined): string | null {
  return time?.toISOString() ?? null;
}

/** The schema of a JSON merge patch (RFC 7396): every member may be left out, or be null to be taken away. */
export function mergePatchOf(object: z.ZodObject) {
  const members = Object.entries(object.shape).map(([name, member]) => [
    name,
    withoutDefault(member as z.ZodType)
      .nullable()
      .optional(),
  ]);
  return z.strictObject(Object.fromEntries(members) as Record<string, z.ZodOptional<z.ZodNullable>>);
}

/** What a patch doesn't name must stay as it is, and not become the default. */
function withoutDefault(member: z.ZodType): z.ZodType {
  return member instanceof z.ZodDefault || member instanceof z.ZodOptional
    ? withoutDefault(member.unwrap() as z.ZodType)
    : member;
}
