/**
 * Routes for two kinds of grant policies: exchange policies (token exchange) and assertion policies (JWT bearer grant).
 * Both have the same routes and differ in their members.
 */
import { z } from 'zod';
import { invalid } from '../base/refusal.ts';
import { isSameUri } from '../base/uri.ts';
import { isExternal, type Grant, type Policy, type PolicyTerms } from '../grant_policies/policy.ts';
import {
  AssertionPolicyChangeShape,
  assertionPolicyMembers,
  AssertionPolicyShape,
  ExchangePolicyChangeShape,
  exchangePolicyMembers,
  ExchangePolicyShape,
  NewAssertionPolicy,
  NewExchangePolicy,
} from '../grant_policies/policy_schema.ts';
import {
  createPolicy,
  deletePolicy,
  findPolicy,
  lockPolicy,
  noSuchPolicy,
  readPolicies,
  updatePolicy,
} from '../grant_policies/policy_store.ts';
import { NO_CONTENT } from '../http/route.ts';
import { adminRoute, type AdminCall, type AdminRoute } from './admin_call.ts';
import { pageOf, paging, type List } from './cursors.ts';
import { entityTag } from './entity_tag.ts';
import { mergePatchOf, Timestamp, timestamp } from './shared_members.ts';
import { adminResourceIdentifier } from './scopes.ts';

interface PolicyKind {
  readonly grant: Grant;
  readonly path: '/exchange-policies' | '/assertion-policies';
  readonly tag: string;
  /** The name of its schema in the OpenAPI document. */
  readonly id: string;
  readonly one: string;
  readonly shape: z.ZodObject;
  readonly changeShape: z.ZodObject;
  readonly schema: z.ZodType<PolicyTerms>;
  readonly members: (terms: PolicyTerms) => object;
  readonly example: object;
}

const EXCHANGE: PolicyKind = {
  grant: 'token_exchange',
  path: '/exchange-policies',
  tag: 'exchange policies',
  id: 'ExchangePolicy',
  one: 'an exchange policy',
  shape: ExchangePolicyShape,
  changeShape: ExchangePolicyChangeShape,
  schema: NewExchangePolicy,
  members: exchangePolicyMembers,
  example: {
    client_id: 'client_orders',
    subject_resource: 'https://orders.example.com',
    resource: 'https://billing.example.com',
    scopes: [{ scope: 'invoices:read', from: 'orders:read' }],
    mode: 'delegation',
    max_ttl_seconds: 120,
  },
};

const ASSERTION: PolicyKind = {
  grant: 'jwt_bearer',
  path: '/assertion-policies',
  tag: 'assertion policies',
  id: 'AssertionPolicy',
  one: 'an assertion policy',
  shape: AssertionPolicyShape,
  changeShape: AssertionPolicyChangeShape,
  schema: NewAssertionPolicy,
  members: assertionPolicyMembers,
  example: {
    client_id: 'client_partner',
    issuer: 'https://id.partner.example',
    subject_account: 'verified_email',
    email_domains: ['partner.example'],
    resource: 'https://api.example.com',
    scopes: ['reports:read'],
    max_ttl_seconds: 300,
  },
};

const PolicyParams = z.strictObject({ policy_id: z.string().min(1).max(512).describe('The policy.') });
const ListQuery = z.strictObject({
  ...paging,
  client_id: z.string().min(1).max(512).optional().describe('Only policies of this client.'),
});

export const grantPolicyRoutes: readonly AdminRoute[] = [EXCHANGE, ASSERTION].flatMap(routesOf);

function routesOf(kind: PolicyKind): readonly AdminRoute[] {
  const { grant, path, tag, id, one, shape, changeShape, schema, members, example } = kind;
  const view = z
    .strictObject({ policy_id: z.string(), ...shape.shape, created_at: Timestamp, updated_at: Timestamp })
    .meta({ id });
  const show = (policy: Policy): z.output<typeof view> => ({
    policy_id: policy.policyId,
    ...members(policy),
    created_at: timestamp(policy.createdAt),
    updated_at: timestamp(policy.updatedAt),
  });
  return [
    adminRoute({
      method: 'POST',
      path,
      scope: 'policies:write',
      tag,
      summary: `Create ${one}`,
      body: schema.meta({ id: `New${id}`, examples: [example] }),
      reply: { status: 201, description: 'The policy.', body: view, headers: ['ETag', 'Location'] },
      refuses: [409],
      handle: ({ body }, call) =>
        call.write(async (work) => {
          refuseAdminApi(call, body);
          const policy = await createPolicy(work, body);
          const location = `${adminResourceIdentifier(call.dependencies.issuer)}${path}/${policy.policyId}`;
          return { status: 201, headers: { ETag: entityTag(policy.version), Location: location }, body: show(policy) };
        }),
    }),
    adminRoute({
      method: 'GET',
      path,
      scope: 'policies:read',
      tag,
      summary: `List ${tag}, oldest first`,
      query: ListQuery,
      reply: { status: 200, description: 'A page of policies.', body: pageOf(view) },
      handle: ({ query }, call) => list(call, kind, query, show),
    }),
    adminRoute({
      method: 'GET',
      path: `${path}/{policy_id}`,
      scope: 'policies:read',
      tag,
      summary: `Show ${one}`,
      params: PolicyParams,
      reply: { status: 200, description: 'The policy.', body: view, headers: ['ETag'] },
      refuses: [404],
      async handle({ params }, call) {
        const policy = await findPolicy(call.dependencies.database, grant, params.policy_id);
        if (!policy) throw noSuchPolicy();
        return call.show(entityTag(policy.version), show(policy));
      },
    }),
    adminRoute({
      method: 'PATCH',
      path: `${path}/{policy_id}`,
      scope: 'policies:write',
      tag,
      summary: `Change ${one} (JSON merge patch)`,
      description:
        'The members that identify the client, subject and target cannot change; create another policy instead. Existing tokens stay unchanged.',
      params: PolicyParams,
      body: mergePatchOf(changeShape).meta({ id: `${id}Patch`, examples: [{ max_ttl_seconds: 60 }] }),
      reply: { status: 200, description: 'The policy after the change.', body: view, headers: ['ETag'] },
      refuses: [404, 412],
      handle: ({ params, body }, call) =>
        call.write(async (work) => {
          const locked = await lockPolicy(work.tx, grant, params.policy_id);
          call.refuseOtherVersion(locked.version);
          const policy = await updatePolicy(work, locked, members(locked), body, schema);
          return { status: 200, headers: { ETag: entityTag(policy.version) }, body: show(policy) };
        }),
    }),
    adminRoute({
      method: 'DELETE',
      path: `${path}/{policy_id}`,
      scope: 'policies:write',
      tag,
      summary: `Delete ${one}`,
      params: PolicyParams,
      reply: { status: 204, description: 'The policy is deleted.' },
      refuses: [404, 412],
      handle: ({ params }, call) =>
        call.write(async (work) => {
          const locked = await lockPolicy(work.tx, grant, params.policy_id);
          call.refuseOtherVersion(locked.version);
          await deletePolicy(work, locked);
          return NO_CONTENT;
        }),
    }),
  ];
}

type PolicyPosition = { readonly created_at: string; readonly policy_id: string };

async function list<View>(
  call: AdminCall,
  { grant, path }: PolicyKind,
  { limit, cursor, client_id }: z.output<typeof ListQuery>,
  view: (policy: Policy) => View,
) {
  const policies: List = { name: path, filters: { client_id } };
  const after = await call.openCursor<PolicyPosition>(policies, cursor);
  const rows = await readPolicies(call.dependencies.database, grant, {
    limit: limit + 1,
    after: after && { createdAt: new Date(after.created_at), policyId: after.policy_id },
    clientId: client_id,
  });
  const position = ({ createdAt, policyId }: Policy): PolicyPosition => ({
    created_at: createdAt.toISOString(),
    policy_id: policyId,
  });
  return call.page(policies, { rows, limit, position, view });
}

/**
 * The admin API accepts only tokens that clients request directly, so no policy may exchange tokens for it or from it.
 */
function refuseAdminApi({ dependencies }: AdminCall, { resource, subject }: PolicyTerms): void {
  const admin = adminResourceIdentifier(dependencies.issuer);
  if (isSameUri(resource, admin)) throw invalid('/resource', 'must not be the admin API');
  if (!isExternal(subject) && isSameUri(subject.resource, admin)) {
    throw invalid('/subject_resource', 'must not be the admin API');
  }
}
