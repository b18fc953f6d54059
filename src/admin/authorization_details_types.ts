/**
 * Routes for types of authorization details (RFC 9396): an admin defines as data what clients may request beyond
 * scopes.
 */
import { z } from 'zod';
import { notFound } from '../base/refusal.ts';
import { NO_CONTENT } from '../http/route.ts';
import {
  createDetailsType,
  deleteDetailsType,
  DetailsTypePatch,
  findDetailsType,
  lockDetailsType,
  NewDetailsType,
  readDetailsTypes,
  updateDetailsType,
  type DetailsType,
} from '../resources/authorization_details_type.ts';
import { adminRoute, type AdminCall, type AdminRoute } from './admin_call.ts';
import { pageOf, paging, type List } from './cursors.ts';
import { entityTag } from './entity_tag.ts';
import { Timestamp, timestamp } from './shared_members.ts';
import { adminResourceIdentifier } from './scopes.ts';

const PATH = '/authorization-details-types';

const TypeView = z
  .strictObject({
    type: z.string(),
    title: z.string(),
    description: z.string().nullable(),
    schema: z.record(z.string(), z.unknown()),
    resources: z.array(z.string()),
    created_at: Timestamp,
    updated_at: Timestamp,
  })
  .meta({ id: 'AuthorizationDetailsType' });

const example = {
  type: 'payment',
  title: 'Pay {amount.value} {amount.currency} to {payee}',
  description: 'The money leaves your account when the shop asks for it.',
  schema: {
    type: 'object',
    properties: {
      amount: {
        type: 'object',
        title: 'Amount',
        properties: {
          value: { type: 'string', pattern: String.raw`^\d{1,9}\.\d{2}$` },
          currency: { type: 'string', pattern: '^[A-Z]{3}$' },
        },
        required: ['value', 'currency'],
      },
      payee: { type: 'string', title: 'Payee', maxLength: 140 },
    },
    required: ['amount', 'payee'],
  },
  resources: ['https://api.example.com'],
};

const TypeParams = z.strictObject({ type: z.string().max(200).describe('The type, percent-encoded.') });
const ListQuery = z.strictObject(paging);

export const authorizationDetailsTypeRoutes: readonly AdminRoute[] = [
  adminRoute({
    method: 'POST',
    path: PATH,
    scope: 'policies:write',
    tag: 'authorization details types',
    summary: 'Register a type of authorization details',
    description: 'The schema uses a fixed subset of JSON Schema. Objects accept only the members that they declare.',
    body: NewDetailsType.meta({ id: 'NewAuthorizationDetailsType', examples: [example] }),
    reply: { status: 201, description: 'The type.', body: TypeView, headers: ['ETag', 'Location'] },
    refuses: [409],
    handle: ({ body }, call) =>
      call.write(async (work) => {
        const made = await createDetailsType(work, body);
        const location = `${adminResourceIdentifier(call.dependencies.issuer)}${PATH}/${encodeURIComponent(made.type)}`;
        return {
          status: 201,
          headers: { ETag: entityTag(made.version), Location: location },
          body: typeView(made),
        };
      }),
  }),
  adminRoute({
    method: 'GET',
    path: PATH,
    scope: 'policies:read',
    tag: 'authorization details types',
    summary: 'List types of authorization details, ordered by name',
    query: ListQuery,
    reply: { status: 200, description: 'A page of types.', body: pageOf(TypeView) },
    handle: ({ query }, call) => list(call, query),
  }),
  adminRoute({
    method: 'GET',
    path: `${PATH}/{type}`,
    scope: 'policies:read',
    tag: 'authorization details types',
    summary: 'Show a type of authorization details',
    params: TypeParams,
    reply: { status: 200, description: 'The type.', body: TypeView, headers: ['ETag'] },
    refuses: [404],
    async handle({ params }, call) {
      const found = await findDetailsType(call.dependencies.database, params.type);
      if (!found) throw notFound('Authorization details type not found.');
      return call.show(entityTag(found.version), typeView(found));
    },
  }),
  adminRoute({
    method: 'PATCH',
    path: `${PATH}/{type}`,
    scope: 'policies:write',
    tag: 'authorization details types',
    summary: 'Change a type of authorization details (JSON merge patch)',
    description:
      'The patch replaces each member that it names as a whole. Existing grants keep their authorization details.',
    params: TypeParams,
    body: DetailsTypePatch.meta({ id: 'AuthorizationDetailsTypePatch', examples: [{ title: 'Pay {payee}' }] }),
    reply: { status: 200, description: 'The type after the change.', body: TypeView, headers: ['ETag'] },
    refuses: [404, 412],
    handle: ({ params, body }, call) =>
      call.write(async (work) => {
        const locked = await lockDetailsType(work.tx, params.type);
        call.refuseOtherVersion(locked.version);
        const changed = await updateDetailsType(work, locked, body);
        return { status: 200, headers: { ETag: entityTag(changed.version) }, body: typeView(changed) };
      }),
  }),
  adminRoute({
    method: 'DELETE',
    path: `${PATH}/{type}`,
    scope: 'policies:write',
    tag: 'authorization details types',
    summary: 'Delete a type of authorization details that no client may request',
    params: TypeParams,
    reply: { status: 204, description: 'The type is deleted, and new tokens do not carry it.' },
    refuses: [404, 409, 412],
    handle: ({ params }, call) =>
      call.write(async (work) => {
        const locked = await lockDetailsType(work.tx, params.type);
        call.refuseOtherVersion(locked.version);
        await deleteDetailsType(work, locked);
        return NO_CONTENT;
      }),
  }),
];

async function list(call: AdminCall, { limit, cursor }: z.output<typeof ListQuery>) {
  const types: List = { name: 'authorization_details_types' };
  const after = await call.openCursor<{ readonly type: string }>(types, cursor);
  const rows = await readDetailsTypes(call.dependencies.database, { limit: limit + 1, after: after?.type });
  return call.page(types, { rows, limit, position: ({ type }) => ({ type }), view: typeView });
}

function typeView(found: DetailsType): z.output<typeof TypeView> {
  return {
    type: found.type,
    title: found.title,
    description: found.description,
    schema: { ...found.schema },
    resources: [...found.resources],
    created_at: timestamp(found.createdAt),
    updated_at: timestamp(found.updatedAt),
  };
}
