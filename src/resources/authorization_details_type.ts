/**
 * Types of authorization details (RFC 9396): what a client may request beyond scopes, such as one payment. Each type
 * has a title for people, a schema for its members, and the resources that it applies to.
 */
import { jsonArrayFrom } from 'kysely/helpers/postgres';
import { z } from 'zod';
import type { EventOf } from '../audit/catalogue.ts';
import type { UnitOfWork } from '../audit/unit_of_work.ts';
import { changedValues } from '../audit/changed_values.ts';
import { conflict, invalid, notFound } from '../base/refusal.ts';
import { normalUri } from '../base/uri.ts';
import { INVISIBLE_REFUSED, isVisible } from '../base/visible_text.ts';
import { recordChange } from '../invalidation/log.ts';
import { json, type Reader, type Tx } from '../db/connection.ts';
import { DetailsSchema } from './details_schema.ts';
import { placeholdersOf } from './details_title.ts';

const plain = (most: number) =>
  z
    .string()
    .trim()
    .min(1, 'must not be empty')
    .max(most, `must not be longer than ${most} characters`)
    .refine(isVisible, INVISIBLE_REFUSED);

const settings = {
  title: plain(200).describe(
    'What the person is asked to allow. A member name in braces is replaced by the value of the member.',
  ),
  description: plain(500).nullable().describe('A longer explanation for the person.'),
  schema: DetailsSchema.describe('The schema of the members, in a fixed subset of JSON Schema.'),
  resources: z
    .array(z.string().max(512))
    .min(1, 'must name at least one resource')
    .max(100, 'must not name more than 100 resources')
    .refine((all) => new Set(all).size === all.length, 'must not name a resource twice')
    .describe('The resources whose access tokens may contain it.'),
};

export const NewDetailsType = z
  .strictObject({
    type: z
      .string()
      .min(1, 'must not be empty')
      .max(200, 'must not be longer than 200 characters')
      .regex(/^[A-Za-z][\w.:/#?=&%~+-]*$/, 'must be a name or URI of ASCII characters that begins with a letter'),
    ...settings,
    description: settings.description.default(null),
  })
  .superRefine(checkPlaceholders);
export const DetailsTypePatch = z.strictObject(settings).partial();

export interface DetailsType {
  readonly type: string;
  readonly title: string;
  readonly description: string | null;
  readonly schema: DetailsSchema;
  readonly resources: readonly string[];
  readonly version: number;
  readonly createdAt: Date;
  readonly updatedAt: Date;
}

const RECORDED_MEMBERS = [
  'title',
  'description',
  'schema',
  'resources',
] as const satisfies readonly (keyof DetailsType)[];

export async function createDetailsType(
  work: UnitOfWork,
  given: z.output<typeof NewDetailsType>,
): Promise<DetailsType> {
  const { tx, now } = work;
  const { type, title, description, schema, resources } = given;
  const row = await tx
    .insertInto('authorization_details_types')
    .values({ type, title, description, schema: json(schema), created_at: now, updated_at: now })
    .onConflict((clash) => clash.doNothing())
    .returning('type')
    .executeTakeFirst();
  if (!row) throw conflict(`Authorization details type ${type} already exists.`);
  await storeResources(tx, type, resources);
  const made = await lockDetailsType(tx, type);
  const details = { type, resources: made.resources };
  await changed(work, { event: 'authorization_details_type.created', outcome: 'success', details });
  return made;
}

/** Changes a type that the caller has locked. Existing grants keep their authorization details. Throws `Refused`. */
export async function updateDetailsType(
  work: UnitOfWork,
  before: DetailsType,
  given: z.output<typeof DetailsTypePatch>,
): Promise<DetailsType> {
  const { tx, now } = work;
  const { type } = before;
  const { resources, schema, ...rest } = given;
  refuseUnknownPlaceholders({ title: given.title ?? before.title, schema: given.schema ?? before.schema });
  await tx
    .updateTable('authorization_details_types')
    .set({ ...rest, ...(schema && { schema: json(schema) }), updated_at: now, version: before.version + 1 })
    .where('type', '=', type)
    .execute();
  if (resources) {
    await tx.deleteFrom('authorization_details_type_resources').where('type', '=', type).execute();
    await storeResources(tx, type, resources);
  }
  const after = await lockDetailsType(tx, type);
  const details = {
    type,
    members: Object.keys(given),
    ...changedValues(RECORDED_MEMBERS, before, after),
    resources: after.resources,
  };
  await changed(work, { event: 'authorization_details_type.updated', outcome: 'success', details });
  return after;
}

/** Deletes a type. Refuses with `conflict` while a client may still request it. */
export async function deleteDetailsType(work: UnitOfWork, { type }: DetailsType): Promise<void> {
  const { tx } = work;
  const clients = await tx
    .selectFrom('client_authorization_details_types')
    .select('client_id')
    .where('type', '=', type)
    .limit(3)
    .execute();
  if (clients.length > 0) {
    const names = clients.map((client) => client.client_id).join(', ');
    throw conflict(`Clients may still request ${type} (${names}); remove it from them first.`);
  }
  await tx.deleteFrom('authorization_details_types').where('type', '=', type).execute();
  await changed(work, { event: 'authorization_details_type.deleted', outcome: 'success', details: { type } });
}

/** Returns the type, locked against other changes until the transaction ends. */
export async function lockDetailsType(tx: Tx, type: string): Promise<DetailsType> {
  const locked = await tx
    .selectFrom('authorization_details_types')
    .select('type')
    .where('type', '=', type)
    .forUpdate()
    .executeTakeFirst();
  const found = locked && (await findDetailsType(tx, type));
  if (!found) throw notFound('Authorization details type not found.');
  return found;
}

export async function findDetailsType(reader: Reader, type: string): Promise<DetailsType | undefined> {
  const row = await query(reader).where('type', '=', type).executeTakeFirst();
  return row && toDetailsType(row);
}

export interface DetailsTypePage {
  readonly limit: number;
  /** The last type of the previous page. */
  readonly after?: string | undefined;
}

/** Returns all types ordered by name, or one page of them. */
export async function readDetailsTypes(reader: Reader, page?: DetailsTypePage): Promise<DetailsType[]> {
  let rows = query(reader).orderBy('type');
  if (page) rows = rows.limit(page.limit);
  if (page?.after !== undefined) rows = rows.where('type', '>', page.after);
  return (await rows.execute()).map(toDetailsType);
}

function query(reader: Reader) {
  return reader
    .selectFrom('authorization_details_types')
    .selectAll('authorization_details_types')
    .select((type) =>
      jsonArrayFrom(
        type
          .selectFrom('authorization_details_type_resources')
          .select('resource')
          .whereRef('authorization_details_type_resources.type', '=', 'authorization_details_types.type')
          .orderBy('resource'),
      ).as('resources'),
    );
}

/** Stores the resources under their registered identifiers. */
async function storeResources(tx: Tx, type: string, resources: readonly string[]): Promise<void> {
  const known = await tx
    .selectFrom('resources')
    .select(['identifier', 'normal_form'])
    .where('normal_form', 'in', resources.map(normalUri))
    .forShare()
    .execute();
  const identifiers = new Map(known.map(({ identifier, normal_form }) => [normal_form, identifier]));
  const registered = resources.map((resource, index) => {
    const identifier = identifiers.get(normalUri(resource));
    if (identifier === undefined) throw invalid(`/resources/${index}`, 'names a resource that is not registered');
    return identifier;
  });
  if (new Set(registered).size < registered.length) throw invalid('/resources', 'must not name a resource twice');
  await tx
    .insertInto('authorization_details_type_resources')
    .values(registered.map((resource) => ({ type, resource })))
    .execute();
}

async function changed(
  { tx, trail, origin, now }: UnitOfWork,
  what: EventOf<`authorization_details_type.${'created' | 'updated' | 'deleted'}`>,
): Promise<void> {
  await trail.recordIn(tx, origin, what);
  await recordChange(tx, { topic: 'authorization_details_type', key: what.details.type }, now);
}

function checkPlaceholders(given: TitleAndSchema, context: z.RefinementCtx): void {
  const [unknown] = placeholdersWithoutMember(given);
  if (unknown === undefined) return;
  context.addIssue({ code: 'custom', path: ['title'], message: withoutMember(unknown) });
}

function refuseUnknownPlaceholders(given: TitleAndSchema): void {
  const [unknown] = placeholdersWithoutMember(given);
  if (unknown !== undefined) throw invalid('/title', withoutMember(unknown));
}

type TitleAndSchema = Pick<DetailsType, 'title' | 'schema'>;

function withoutMember(placeholder: string): string {
  return `names {${placeholder}}, which is not a single value of the schema`;
}

/**
 * Returns the placeholders of a title that do not name a single value. A placeholder is a path of member names with
 * dots between them.
 */
function placeholdersWithoutMember({ title, schema }: TitleAndSchema): string[] {
  return placeholdersOf(title).filter((placeholder) => {
    let at: DetailsSchema | undefined = schema;
    for (const name of placeholder.split('.')) at = at?.properties?.[name];
    return !at || at.type === 'object' || at.type === 'array';
  });
}

function toDetailsType(row: Awaited<ReturnType<ReturnType<typeof query>['executeTakeFirstOrThrow']>>): DetailsType {
  return {
    type: row.type,
    title: row.title,
    description: row.description,
    schema: row.schema as unknown as DetailsSchema,
    resources: row.resources.map(({ resource }) => resource),
    version: row.version,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
  };
}
