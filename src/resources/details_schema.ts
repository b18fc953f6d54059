/**
 * The schema of a type of authorization details: a closed part of JSON Schema (2020-12). Whoever writes one is an
 * admin, but what is held against it comes from anybody, so nothing is in it that could fetch, recur or run for long;
 * and objects take no members beside those they name unless they say so (RFC 9396, 5: unknown fields are refused).
 */
import { createRequire } from 'node:module';
import type { Ajv2020, ValidateFunction } from 'ajv/dist/2020.js';
import { z } from 'zod';
import { inPlainWords } from '../base/violations.ts';
import { objectionToPattern } from './safe_pattern.ts';

/** Some eighty files, which most installations never need: they are read with the first schema. */
const loadAjv = () => createRequire(import.meta.url)('ajv/dist/2020.js') as { readonly Ajv2020: typeof Ajv2020 };

const text = z.string().min(1, 'must not be empty').max(200, 'must not be longer than 200 characters');
const scalar = z.union([z.string().max(200), z.number(), z.boolean()], 'must be a string, a number, true or false');
const count = z.int('must be a whole number').min(0, 'must not be negative').max(10_000, 'must be at most 10000');
const memberName = z
  .string()
  .min(1, 'must not be empty')
  .max(100, 'must not be longer than 100 characters')
  .regex(/^[^\p{Cc}\p{Cf}]*$/u, 'must not contain control or invisible characters');

/** What a string may be written like, beside a pattern. */
const FORMATS: Readonly<Record<string, z.ZodType>> = {
  date: z.iso.date(),
  'date-time': z.iso.datetime({ offset: true }),
  email: z.email().max(254),
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

/** Members that every detail has and the server itself looks after (RFC 9396, 2). */
const OUR_MEMBERS = ['type', 'locations'] as const;
const LONGEST_SCHEMA = 16_384;

/** A schema as an admin gives it. Its own members are left as they are; only what it means is looked at. */
export const DetailsSchema = z
  .record(z.string(), z.unknown())
  .superRefine((given, context) => {
    const parsed = Keywords.safeParse(given, { error: inPlainWords });
    if (JSON.stringify(given).length > LONGEST_SCHEMA) {
      context.addIssue({ code: 'custom', message: `must not be longer than ${LONGEST_SCHEMA} characters` });
    } else if (!parsed.success) {
      for (const issue of parsed.error.issues) {
        const unknown = issue.code === 'unrecognized_keys' ? issue.keys : [];
        const message = unknown.length > 0 ? `knows no keyword ${unknown.join(', ').slice(0, 200)}` : issue.message;
        context.addIssue({ code: 'custom', path: issue.path, message });
      }
    } else {
      for (const objection of objections(parsed.data)) context.addIssue({ code: 'custom', message: objection });
    }
  })
  .transform((given) => given as unknown as DetailsSchema);

function objections(schema: DetailsSchema): string[] {
  if (schema.type !== 'object') return ['must be of the type object'];
  const ours = OUR_MEMBERS.filter((name) => name in (schema.properties ?? {}));
  if (ours.length > 0) return [`must not describe ${ours.join(' and ')}, which every type has`];
  try {
    compile(schema);
    return [];
  } catch (error) {
    return [`is not a schema: ${(error as Error).message}`];
  }
}

/** Answers what is wrong with a detail, in the schema's own words; nothing of the detail is repeated. */
export type Examine = (detail: Readonly<Record<string, unknown>>) => string | undefined;

/** Throws for what is no schema, such as one with keywords that don't go with its type. */
export function compile(schema: DetailsSchema): Examine {
  const ajvModule = loadAjv();
  const ajv = new ajvModule.Ajv2020({ strict: true, allowUnionTypes: false, messages: true, logger: false });
  for (const [name, format] of Object.entries(FORMATS)) {
    ajv.addFormat(name, (value: string) => format.safeParse(value).success);
  }
  const validate: ValidateFunction = ajv.compile(closed(schema));
  return (detail) => {
    const own = Object.entries(detail).filter(([name]) => !(OUR_MEMBERS as readonly string[]).includes(name));
    if (validate(Object.fromEntries(own))) return undefined;
    const [error] = validate.errors ?? [];
    if (!error) return undefined;
    // a pattern has characters that an error_description can't have
    const message =
      error.keyword === 'pattern' ? 'must match its pattern' : (error.message ?? 'is not as it should be');
    return `${placeOf(error.schemaPath)} ${message}`.trim();
  };
}

/** Objects take what they name, and nothing else. */
function closed(schema: DetailsSchema): DetailsSchema {
  const { properties, additionalProperties, items } = schema;
  return {
    ...schema,
    ...(properties && {
      properties: Object.fromEntries(Object.entries(properties).map(([name, member]) => [name, closed(member)])),
    }),
    ...(schema.type === 'object' && {
      additionalProperties:
        typeof additionalProperties === 'object' ? closed(additionalProperties) : (additionalProperties ?? false),
    }),
    ...(items && { items: closed(items) }),
  };
}

/** `#/properties/amount/properties/currency/type` as `amount.currency`. */
function placeOf(schemaPath: string): string {
  const steps = schemaPath.split('/').slice(1, -1);
  const names: string[] = [];
  for (let at = 0; at < steps.length; at++) {
    if (steps[at] === 'properties') names.push(decodeURIComponent(steps[++at] ?? ''));
    else if (steps[at] === 'items') names.push('(item)');
  }
  return names.join('.').replaceAll('~1', '/').replaceAll('~0', '~');
}
