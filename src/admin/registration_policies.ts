/** Routes for registration policies: they limit the metadata of clients that register themselves. */
import { z } from 'zod';
import { invalid, notFound } from '../base/refusal.ts';
import { isSameUri } from '../base/uri.ts';
import { NO_CONTENT } from '../http/route.ts';
import {
  createPolicy,
  deletePolicy,
  findPolicy,
  lockPolicy,
  readPolicies,
  updatePolicy,
  type StoredPolicy,
} from '../registration/policy_store.ts';
import { RegistrationPolicy, RegistrationPolicyShape } from '../registration/policy.ts';
import { adminRoute, type AdminCall, type AdminRoute } from './admin_call.ts';
import { pageOf, paging, type List } from './cursors.ts';
import { entityTag } from './entity_tag.ts';
import { mergePatchOf, Timestamp, timestamp } from './shared_members.ts';
import { adminResourceIdentifier } from './scopes.ts';

const PolicyView = z
  .strictObject({ ...RegistrationPolicyShape.shape, created_at: Timestamp, updated_at: Timestamp })
  .meta({ id: 'RegistrationPolicy' });

const PolicyParams = z.strictObject({ name: z.string().max(64).describe('The policy.') });
const ListQuery = z.strictObject(paging);

const example = {
  name: 'partners',
  redirect_uri_hosts: ['*.partner.example'],
  token_endpoint_auth_methods: ['private_key_jwt'],
  resources: [{ resource: 'https://api.example.com', scopes: ['reports:read'] }],
  clients_at_most: 50,
};

export const registrationPolicyRoutes: readonly AdminRoute[] = [
  adminRoute({
    method: 'POST',
    path: '/registration-policies',
    scope: 'policies:write',
    tag: 'registration',
    summary: 'Create a registration policy',
    description: 'A policy cannot include scopes of the admin API.',
    body: RegistrationPolicy.meta({ id: 'NewRegistrationPolicy', examples: [example] }),
    reply: { status: 201, description: 'The policy.', body: PolicyView, headers: ['ETag', 'Location'] },
    refuses: [409],
    handle: ({ body }, call) =>
      call.write(async (work) => {
        refuseAdminScopes(call, body);
        const stored = await createPolicy(work, body);
        const path = `/registration-policies/${body.name}`;
        return {
          status: 201,
          headers: {
            ETag: entityTag(stored.version),
            Location: adminResourceIdentifier(call.dependencies.issuer) + path,
          },
          body: policyView(stored),
        };
      }),
  }),
  adminRoute({
    method: 'GET',
    path: '/registration-policies',
    scope: 'policies:read',
    tag: 'registration',
    summary: 'List registration policies, ordered by name',
    query: ListQuery,
    reply: { status: 200, description: 'A page of policies.', body: pageOf(PolicyView) },
    handle: ({ query }, call) => list(call, query),
  }),
  adminRoute({
    method: 'GET',
    path: '/registration-policies/{name}',
    scope: 'policies:read',
    tag: 'registration',
    summary: 'Show a registration policy',
    params: PolicyParams,
    reply: { status: 200, description: 'The policy.', body: PolicyView, headers: ['ETag'] },
    refuses: [404],
    async handle({ params }, call) {
      const stored = await findPolicy(call.dependencies.database, params.name);
      if (!stored) throw notFound('Registration policy not found.');
      return call.show(entityTag(stored.version), policyView(stored));
    },
  }),
  adminRoute({
    method: 'PATCH',
    path: '/registration-policies/{name}',
    scope: 'policies:write',
    tag: 'registration',
    summary: 'Change a registration policy (JSON merge patch)',
    description:
      'A change of resources takes effect at once for every client under the policy; other changes apply to clients that register or change later.',
    params: PolicyParams,
    body: mergePatchOf(RegistrationPolicyShape.omit({ name: true })).meta({
      id: 'RegistrationPolicyPatch',
      examples: [{ open_registration: false }],
    }),
    reply: { status: 200, description: 'The policy after the change.', body: PolicyView, headers: ['ETag'] },
    refuses: [404, 409, 412],
    handle: ({ params, body }, call) =>
      call.write(async (work) => {
        const locked = await lockPolicy(work.tx, params.name);
        call.refuseOtherVersion(locked.version);
        const stored = await updatePolicy(work, locked, body);
        refuseAdminScopes(call, stored.policy);
        return { status: 200, headers: { ETag: entityTag(stored.version) }, body: policyView(stored) };
      }),
  }),
  adminRoute({
    method: 'DELETE',
    path: '/registration-policies/{name}',
    scope: 'policies:write',
    tag: 'registration',
    summary: 'Delete a registration policy without clients, and its initial access tokens',
    params: PolicyParams,
    reply: { status: 204, description: 'The policy is deleted.' },
    refuses: [404, 409, 412],
    handle: ({ params }, call) =>
      call.write(async (work) => {
        const locked = await lockPolicy(work.tx, params.name);
        call.refuseOtherVersion(locked.version);
        await deletePolicy(work, locked);
        return NO_CONTENT;
      }),
  }),
];

/** A client that no admin has reviewed must not administer this server. */
function refuseAdminScopes(call: AdminCall, { resources }: RegistrationPolicy): void {
  const admin = adminResourceIdentifier(call.dependencies.issuer);
  const index = resources.findIndex(({ resource }) => isSameUri(resource, admin));
  if (index >= 0) throw invalid(`/resources/${index}/resource`, 'must not be the admin API');
}

async function list(call: AdminCall, { limit, cursor }: z.output<typeof ListQuery>) {
  const policies: List = { name: 'registration_policies' };
  const after = await call.openCursor<{ readonly name: string }>(policies, cursor);
  const rows = await readPolicies(call.dependencies.database, { limit: limit + 1, after: after?.name });
  return call.page(policies, { rows, limit, position: ({ policy: { name } }) => ({ name }), view: policyView });
}

function policyView({ policy, createdAt, updatedAt }: StoredPolicy): z.output<typeof PolicyView> {
  return { ...policy, created_at: timestamp(createdAt), updated_at: timestamp(updatedAt) };
}
