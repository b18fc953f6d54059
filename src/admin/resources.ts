/**
 * Routes for resources, the APIs that access tokens are issued for. A resource identifier is a URI, percent-encoded in
 * the path.
 */
import { z } from 'zod';
import { ClaimMappings } from '../base/claim_mappings.ts';
import { notCounted } from '../base/time_budget.ts';
import { notFound } from '../base/refusal.ts';
import { REQUIRABLE_ACRS } from '../base/acr_values.ts';
import { jwksPathOf, SIGNING_ALGS } from '../base/signing_algs.ts';
import { isUnavailable } from '../db/connection.ts';
import {
  DpopAtResource,
  ProtectedResourceMetadata,
  protectedResourceMetadata,
} from '../resources/protected_resource_metadata.ts';
import type { Resource } from '../resources/resource.ts';
import { endRights } from '../resources/ended_rights.ts';
import { NewResource, ResourcePatch } from '../resources/resource_members.ts';
import {
  createResource,
  deleteResource,
  findResource,
  lockResource,
  readResources,
  updateResource,
} from '../resources/resource_rows.ts';
import { NO_CONTENT } from '../http/route.ts';
import { adminRoute, type AdminCall, type AdminRoute } from './admin_call.ts';
import { pageOf, paging, type List } from './cursors.ts';
import { entityTag } from './entity_tag.ts';
import { OpenQuery, openScopes } from './removed_scopes.ts';
import { Timestamp, timestamp } from './shared_members.ts';
import { refuseAdminResource, refuseLookAlike } from './privilege_check.ts';
import { adminResourceIdentifier } from './scopes.ts';

const ResourceView = z
  .strictObject({
    identifier: z.string(),
    display_name: z.string().nullable().describe('What people are shown instead of the identifier.'),
    scopes: z.array(
      z.strictObject({
        name: z.string(),
        description: z.string(),
        details: z.string().optional(),
        access: z.enum(['read', 'write']).optional(),
      }),
    ),
    access_token_ttl_seconds: z.int(),
    signing_alg: z.enum(SIGNING_ALGS),
    issuer_jwks_uri: z.string().describe('The JWK Set of this server that verifies the access tokens of the resource.'),
    userinfo_audience: z.boolean(),
    claim_mappings: ClaimMappings,
    required_acr: z.enum(REQUIRABLE_ACRS).nullable(),
    created_at: Timestamp,
    updated_at: Timestamp,
  })
  .meta({ id: 'Resource' });

const example = {
  identifier: 'https://api.example.com',
  display_name: 'Reports',
  scopes: [{ name: 'reports:read', description: 'Read reports', access: 'read' }],
  access_token_ttl_seconds: 600,
  signing_alg: 'ES256',
  userinfo_audience: true,
  claim_mappings: [],
};

const ResourceParams = z.strictObject({
  identifier: z.string().max(512).describe('The resource identifier, percent-encoded.'),
});
const ListQuery = z.strictObject(paging);

const ENDING_MILLISECONDS = 5_000;

export const resourceRoutes: readonly AdminRoute[] = [
  adminRoute({
    method: 'POST',
    path: '/resources',
    scope: 'resources:write',
    tag: 'resources',
    summary: 'Register a resource',
    description:
      'The first resource with a signing_alg creates the signing keys for that algorithm. ML-DSA keys are in a JWK Set of their own; issuer_jwks_uri names the set.',
    body: NewResource.meta({ id: 'NewResource', examples: [example] }),
    reply: { status: 201, description: 'The resource.', body: ResourceView, headers: ['ETag', 'Location'] },
    refuses: [409],
    handle: async ({ body }, call) => {
      const { rotation, issuer } = call.dependencies;
      // the admin API itself exists already
      if (body.identifier !== adminResourceIdentifier(issuer)) refuseLookAlike(call, '/identifier', body.identifier);
      await endRightsNow(call, body.identifier);
      const keys = await rotation.makeMissing([body.signing_alg]);
      return call.write(async (work) => {
        await rotation.addIn(work, keys);
        const resource = await createResource(work, body);
        const path = `/resources/${encodeURIComponent(resource.identifier)}`;
        return {
          status: 201,
          headers: {
            ETag: entityTag(resource.version),
            Location: adminResourceIdentifier(call.dependencies.issuer) + path,
          },
          body: resourceView(resource, call.dependencies.issuer),
        };
      });
    },
  }),
  adminRoute({
    method: 'GET',
    path: '/resources',
    scope: 'resources:read',
    tag: 'resources',
    summary: 'List resources, ordered by identifier',
    query: ListQuery,
    reply: { status: 200, description: 'A page of resources.', body: pageOf(ResourceView) },
    handle: ({ query }, call) => list(call, query),
  }),
  adminRoute({
    method: 'GET',
    path: '/resources/{identifier}',
    scope: 'resources:read',
    tag: 'resources',
    summary: 'Show a resource',
    params: ResourceParams,
    reply: { status: 200, description: 'The resource.', body: ResourceView, headers: ['ETag'] },
    refuses: [404],
    async handle({ params }, call) {
      const resource = await findResource(call.dependencies.database, params.identifier);
      if (!resource) throw notFound('Resource not found.');
      return call.show(entityTag(resource.version), resourceView(resource, call.dependencies.issuer));
    },
  }),
  adminRoute({
    method: 'GET',
    path: '/resources/{identifier}/metadata',
    scope: 'resources:read',
    tag: 'resources',
    summary: 'Generate the metadata document that the resource publishes (RFC 9728)',
    description:
      'The API publishes the document at its own well-known URL and names that URL in its WWW-Authenticate challenges.',
    params: ResourceParams,
    query: z.strictObject({
      dpop: DpopAtResource.default('none').describe('Whether the API supports DPoP proofs or requires them.'),
    }),
    reply: { status: 200, description: 'The document.', body: ProtectedResourceMetadata },
    refuses: [404],
    async handle({ params, query: { dpop } }, call) {
      const { database, issuer, dpopAlgs } = call.dependencies;
      const resource = await findResource(database, params.identifier);
      if (!resource) throw notFound('Resource not found.');
      return { status: 200, body: protectedResourceMetadata(resource, { issuer, dpop, dpopAlgs }) };
    },
  }),
  adminRoute({
    method: 'PATCH',
    path: '/resources/{identifier}',
    scope: 'resources:write',
    tag: 'resources',
    summary: 'Change a resource (JSON merge patch)',
    description:
      'Removing a scope from scopes also removes it from every client that had it, and ends what people granted of it. If that is much, the server continues after the response; a scope of the same name can be added when it is done. Refused while a role has the scope, unless open_scopes is true. Of the resource of the admin API only required_acr can be changed, by a token with all admin scopes.',
    params: ResourceParams,
    query: OpenQuery,
    body: ResourcePatch.meta({ id: 'ResourcePatch', examples: [{ access_token_ttl_seconds: 300 }] }),
    reply: { status: 200, description: 'The resource after the change.', body: ResourceView, headers: ['ETag'] },
    refuses: [404, 409, 412],
    handle: async ({ params, query, body }, call) => {
      refuseAdminResource(call, params.identifier, Object.keys(body));
      if (body.scopes) await endRightsNow(call, params.identifier);
      const { rotation } = call.dependencies;
      const keys = await rotation.makeMissing(body.signing_alg ? [body.signing_alg] : []);
      const changed = await call.write(async (work) => {
        if (body.scopes && query.open_scopes === 'true') await openScopes(call, work, params.identifier, body.scopes);
        const locked = await lockResource(work.tx, params.identifier);
        call.refuseOtherVersion(locked.version);
        await rotation.addIn(work, keys);
        const resource = await updateResource(work, locked, body);
        return {
          status: 200,
          headers: { ETag: entityTag(resource.version) },
          body: resourceView(resource, call.dependencies.issuer),
        };
      });
      if (body.scopes) await endRightsNow(call, params.identifier);
      return changed;
    },
  }),
  adminRoute({
    method: 'DELETE',
    path: '/resources/{identifier}',
    scope: 'resources:write',
    tag: 'resources',
    summary: 'Delete a resource that no client may request',
    description:
      'This also ends what people granted for it: its scopes in grants and consents, and the refresh tokens for it. Introspection and userinfo refuse its JWTs from then on. If there are many, the server continues after the response; a resource with the same identifier can be registered when it is done.',
    params: ResourceParams,
    reply: { status: 204, description: 'The resource is deleted.' },
    refuses: [404, 409, 412],
    handle: async ({ params }, call) => {
      const deleted = await call.write(async (work) => {
        refuseAdminResource(call, params.identifier);
        const resource = await lockResource(work.tx, params.identifier);
        call.refuseOtherVersion(resource.version);
        await deleteResource(work, resource);
        return NO_CONTENT;
      });
      await endRightsNow(call, params.identifier);
      return deleted;
    },
  }),
];

/** Ends the rights for a deleted resource or its removed scopes, as far as a call has time for it. A job does the rest. */
async function endRightsNow({ dependencies }: AdminCall, identifier: string): Promise<void> {
  try {
    await notCounted(() => endRights(dependencies, { milliseconds: ENDING_MILLISECONDS }, identifier));
  } catch (error) {
    if (!isUnavailable(error)) throw error;
  }
}

async function list(call: AdminCall, { limit, cursor }: z.output<typeof ListQuery>) {
  const resources: List = { name: 'resources' };
  const after = await call.openCursor<{ readonly identifier: string }>(resources, cursor);
  const { database, issuer } = call.dependencies;
  const rows = await readResources(database, { limit: limit + 1, after: after?.identifier });
  return call.page(resources, {
    rows,
    limit,
    position: ({ identifier }) => ({ identifier }),
    view: (resource) => resourceView(resource, issuer),
  });
}

function resourceView(resource: Resource, issuer: string): z.output<typeof ResourceView> {
  return {
    identifier: resource.identifier,
    display_name: resource.displayName,
    scopes: resource.scopes.map(({ name, description, details, access }) => ({
      name,
      description,
      ...(details !== undefined && { details }),
      ...(access !== undefined && { access }),
    })),
    access_token_ttl_seconds: resource.accessTokenTtlSeconds,
    signing_alg: resource.signingAlg,
    issuer_jwks_uri: issuer + jwksPathOf(resource.signingAlg),
    userinfo_audience: resource.userinfoAudience,
    claim_mappings: [...resource.claimMappings],
    required_acr: resource.requiredAcr,
    created_at: timestamp(resource.createdAt),
    updated_at: timestamp(resource.updatedAt),
  };
}
