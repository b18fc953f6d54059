/**
 * The schema of a type of authorization details: a fixed subset of JSON Schema (2020-12). Admins write schemas, but any
 * client's input is validated with them, so the subset has nothing that could fetch, recurse or run for long. Objects
 * accept only declared members unless the schema says otherwise (RFC 9396, 5: unknown fields are refused).
 */
import { createRequire } from 'node:module';
import type { Ajv2020, ValidateFunction } from 'ajv/dist/2020.js';
import { z } from 'zod';
import { inPlainWords } from '../base/violations.ts';
import { EMAIL_ADDRESS } from '../base/email_address.ts';
import { INVISIBLE_REFUSED, isVisible } from '../base/visible_text.ts';
import { objectionToPattern } from './safe_pattern.ts';

/** Loads Ajv with the first schema, because it has about eighty files and most installations never need it. */
const loadAjv = () => createRequire(import.meta.url)('ajv/dist/2020.js') as { readonly Ajv2020: typeof Ajv2020 };

const text = z.string().min(1, 'must not be empty').max(200, 'must not be longer than 200 characters');
const scalar = z.union([z.string().max(200), z.number(), z.boolean()], 'must be a string, a number, true or false');
const count = z.int('must be a whole number').min(0, 'must not be negative').max(10_000, 'must be at most 10000');
const memberName = z
  .string()
  .min(1, 'must not be empty')
  .max(100, 'must not be longer than 100 characters')
  .refine(isVisible, INVISIBLE_REFUSED);

/** The string formats of the keyword `format`. */
const FORMATS: Readonly<Record<string, z.ZodType>> = {
  date: z.iso.date(),
  'date-time': z.iso.datetime({ offset: true }),
  email: z.email({ pattern: EMAIL_ADDRESS }).max(254),
  uri: z.url().max(2_000),
  uuid: z.guid(),
};

export type DetailsSchema = {
  readonly type: 'object' | 'array' | 'string' | 'number' | 'integer' | 'boolean';
  readonly title?: string | undefined;
  readonly properties?: Readonly<Record<string, DetailsSchema>> | undefined;
  readonly additionalProperties?: boolean | DetailsSchema | undefined;
  readonly items?: DetailsSchema | undefined;
  readonly [keyword: string]: unknown;
};

const Keywords: z.ZodType<DetailsSchema> = z.lazy(() =>
  z.strictObject({
    type: z.enum(['object', 'array', 'string', 'number', 'integer', 'boolean']),
    title: text.optional(),
    description: text.optional(),
    enum: z.array(scalar).min(1, 'must not be empty').max(200, 'must not name more than 200 values').optional(),
    const: scalar.optional(),
    properties: z.record(memberName, Keywords).optional(),
    required: z.array(memberName).max(100).optional(),
    additionalProperties: z.union([z.boolean(), Keywords]).optional(),
    items: Keywords.optional(),
    minItems: count.optional(),
    maxItems: count.optional(),
    uniqueItems: z.boolean().optional(),
    minLength: count.optional(),
    maxLength: count.optional(),
    format: z.enum(Object.keys(FORMATS), `must be one of ${Object.keys(FORMATS).join(', ')}`).optional(),
    pattern: z
      .string()
      .superRefine((pattern, context) => {
        const objection = objectionToPattern(pattern);
        if (objection) context.addIssue({ code: 'custom', message: objection });
      })
      .optional(),
    minimum: z.number().optional(),
    maximum: z.number().optional(),
    exclusiveMinimum: z.number().optional(),
    exclusiveMaximum: z.number().optional(),
    multipleOf: z.number().positive().optional(),
  }),
);

/** Members of every authorization detail, which the server itself validates (RFC 9396, 2). */
const SERVER_MEMBERS = ['type', 'locations'] as const;
const SCHEMA_CHARACTERS_AT_MOST = 16_384;

/** Validates a schema from an admin and returns it unchanged. */
export const DetailsSchema = z
  .record(z.string(), z.unknown())
  .superRefine((given, context) => {
    const parsed = Keywords.safeParse(given, { error: inPlainWords });
    if (JSON.stringify(given).length > SCHEMA_CHARACTERS_AT_MOST) {
      context.addIssue({ code: 'custom', message: `must not be longer than ${SCHEMA_CHARACTERS_AT_MOST} characters` });
    } else if (!parsed.success) {
      for (const issue of parsed.error.issues) {
        const unknown = issue.code === 'unrecognized_keys' ? issue.keys : [];
        const message =
          unknown.length > 0 ? `has an unsupported keyword: ${unknown.join(', ').slice(0, 200)}` : issue.message;
        context.addIssue({ code: 'custom', path: issue.path, message });
      }
    } else {
      for (const objection of objections(parsed.data)) context.addIssue({ code: 'custom', message: objection });
    }
  })
  .transform((given) => given as unknown as DetailsSchema);

function objections(schema: DetailsSchema): string[] {
  if (schema.type !== 'object') return ['must have the type object'];
  const ours = SERVER_MEMBERS.filter((name) => name in (schema.properties ?? {}));
  if (ours.length > 0) return [`must not describe ${ours.join(' and ')}, which every type has already`];
  try {
    compile(schema);
    return [];
  } catch (error) {
    return [`is not a valid schema: ${(error as Error).message}`];
  }
}

/**
 * Returns the first error of an authorization detail, or `undefined`. The text comes from the schema and never
 * contains values of the detail.
 */
export type Validate = (detail: Readonly<Record<string, unknown>>) => string | undefined;

/** Compiles a schema. Throws if it is invalid, for example if a keyword does not apply to its type. */
export function compile(schema: DetailsSchema): Validate {
  const ajvModule = loadAjv();
  const ajv = new ajvModule.Ajv2020({ strict: true, allowUnionTypes: false, messages: true, logger: false });
  for (const [name, format] of Object.entries(FORMATS)) {
    ajv.addFormat(name, (value: string) => format.safeParse(value).success);
  }
  const validate: ValidateFunction = ajv.compile(closeObjects(schema));
  return (detail) => {
    const own = Object.entries(detail).filter(([name]) => !(SERVER_MEMBERS as readonly string[]).includes(name));
    if (validate(Object.fromEntries(own))) return undefined;
    const [error] = validate.errors ?? [];
    if (!error) return undefined;
    // a pattern has characters that error_description must not contain (RFC 6749, 5.2)
    const message = error.keyword === 'pattern' ? 'must match its pattern' : (error.message ?? 'is invalid');
    return `${memberPath(error.schemaPath)} ${message}`.trim();
  };
}

/** Returns the schema with objects that accept only their declared members. */
function closeObjects(schema: DetailsSchema): DetailsSchema {
  const { properties, additionalProperties, items } = schema;
  return {
    ...schema,
    ...(properties && {
      properties: Object.fromEntries(Object.entries(properties).map(([name, member]) => [name, closeObjects(member)])),
    }),
    ...(schema.type === 'object' && {
      additionalProperties:
        typeof additionalProperties === 'object' ? closeObjects(additionalProperties) : (additionalProperties ?? false),
    }),
    ...(items && { items: closeObjects(items) }),
  };
}

/** Converts `#/properties/amount/properties/currency/type` to `amount.currency`. */
function memberPath(schemaPath: string): string {
  const steps = schemaPath.split('/').slice(1, -1);
  const names: string[] = [];
  for (let at = 0; at < steps.length; at++) {
    if (steps[at] === 'properties') names.push(decodeURIComponent(steps[++at] ?? ''));
    else if (steps[at] === 'items') names.push('(item)');
  }
  return names.join('.').replaceAll('~1', '/').replaceAll('~0', '~');
}
