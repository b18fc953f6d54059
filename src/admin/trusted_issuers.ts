/**
 * Routes for trusted issuers: whose signed assertions this server accepts, and for which purposes. An issuer is
 * percent-encoded in the path.
 */
import { z } from 'zod';
import { notFound } from '../base/refusal.ts';
import { NO_CONTENT } from '../http/route.ts';
import {
  createTrustedIssuer,
  deleteTrustedIssuer,
  findTrustedIssuer,
  lockTrustedIssuer,
  NewTrustedIssuer,
  readTrustedIssuers,
  TrustedIssuerChangeShape,
  TrustedIssuerShape,
  updateTrustedIssuer,
  type TrustedIssuer,
} from '../trust/trusted_issuer.ts';
import { adminRoute, type AdminCall, type AdminRoute } from './admin_call.ts';
import { pageOf, paging, type List } from './cursors.ts';
import { entityTag } from './entity_tag.ts';
import { mergePatchOf, Timestamp, timestamp, timestampOrNull } from './shared_members.ts';
import { refuseLookAlike } from './privilege_check.ts';
import { adminResourceIdentifier } from './scopes.ts';

const TrustedIssuerView = z
  .strictObject({
    ...TrustedIssuerShape.shape,
    disabled: z.boolean(),
    disabled_at: Timestamp.nullable(),
    created_at: Timestamp,
    updated_at: Timestamp,
  })
  .meta({ id: 'TrustedIssuer' });

const example = {
  issuer: 'https://id.partner.example',
  display_name: 'Partner',
  jwks_uri: 'https://id.partner.example/jwks',
  algs: ['ES256'],
  purposes: ['jwt_bearer'],
};

const IssuerParams = z.strictObject({
  issuer: z.string().max(512).describe('The issuer, percent-encoded.'),
});
const ListQuery = z.strictObject(paging);

export const trustedIssuerRoutes: readonly AdminRoute[] = [
  adminRoute({
    method: 'POST',
    path: '/trusted-issuers',
    scope: 'trust:write',
    tag: 'trusted issuers',
    summary: 'Trust an issuer',
    body: NewTrustedIssuer.meta({ id: 'NewTrustedIssuer', examples: [example] }),
    reply: { status: 201, description: 'The issuer.', body: TrustedIssuerView, headers: ['ETag', 'Location'] },
    refuses: [409],
    handle: ({ body }, call) =>
      call.write(async (work) => {
        const { issuer } = call.dependencies;
        refuseLookAlike(call, '/issuer', body.issuer);
        const created = await createTrustedIssuer(work, body);
        const location = `${adminResourceIdentifier(issuer)}/trusted-issuers/${encodeURIComponent(created.issuer)}`;
        return {
          status: 201,
          headers: { ETag: entityTag(created.version), Location: location },
          body: trustedIssuerView(created),
        };
      }),
  }),
  adminRoute({
    method: 'GET',
    path: '/trusted-issuers',
    scope: 'trust:read',
    tag: 'trusted issuers',
    summary: 'List trusted issuers, ordered by name',
    query: ListQuery,
    reply: { status: 200, description: 'A page of issuers.', body: pageOf(TrustedIssuerView) },
    handle: ({ query }, call) => list(call, query),
  }),
  adminRoute({
    method: 'GET',
    path: '/trusted-issuers/{issuer}',
    scope: 'trust:read',
    tag: 'trusted issuers',
    summary: 'Show a trusted issuer',
    params: IssuerParams,
    reply: { status: 200, description: 'The issuer.', body: TrustedIssuerView, headers: ['ETag'] },
    refuses: [404],
    async handle({ params }, call) {
      const found = await findTrustedIssuer(call.dependencies.database, params.issuer);
      if (!found) throw notFound('Trusted issuer not found.');
      return call.show(entityTag(found.version), trustedIssuerView(found));
    },
  }),
  adminRoute({
    method: 'PATCH',
    path: '/trusted-issuers/{issuer}',
    scope: 'trust:write',
    tag: 'trusted issuers',
    summary: 'Change, disable or enable a trusted issuer (JSON merge patch)',
    description:
      'Members that the patch does not name stay unchanged; null removes a member. The server refuses assertions of a disabled issuer at once.',
    params: IssuerParams,
    body: mergePatchOf(TrustedIssuerChangeShape)
      .extend({ disabled: z.boolean().optional() })
      .meta({ id: 'TrustedIssuerPatch', examples: [{ disabled: true }] }),
    reply: { status: 200, description: 'The issuer after the change.', body: TrustedIssuerView, headers: ['ETag'] },
    refuses: [404, 412],
    handle: ({ params, body }, call) =>
      call.write(async (work) => {
        const locked = await lockTrustedIssuer(work.tx, params.issuer);
        call.refuseOtherVersion(locked.version);
        const changed = await updateTrustedIssuer(work, locked, body);
        return { status: 200, headers: { ETag: entityTag(changed.version) }, body: trustedIssuerView(changed) };
      }),
  }),
  adminRoute({
    method: 'DELETE',
    path: '/trusted-issuers/{issuer}',
    scope: 'trust:write',
    tag: 'trusted issuers',
    summary: 'Delete a trusted issuer',
    description:
      'This also deletes its links to accounts. To stop trusting the issuer for a while, disable it instead.',
    params: IssuerParams,
    reply: { status: 204, description: 'The issuer is deleted.' },
    refuses: [404, 409, 412],
    handle: ({ params }, call) =>
      call.write(async (work) => {
        const locked = await lockTrustedIssuer(work.tx, params.issuer);
        call.refuseOtherVersion(locked.version);
        await deleteTrustedIssuer(work, locked);
        return NO_CONTENT;
      }),
  }),
];

async function list(call: AdminCall, { limit, cursor }: z.output<typeof ListQuery>) {
  const issuers: List = { name: 'trusted_issuers' };
  const after = await call.openCursor<{ readonly issuer: string }>(issuers, cursor);
  const rows = await readTrustedIssuers(call.dependencies.database, { limit: limit + 1, after: after?.issuer });
  return call.page(issuers, { rows, limit, position: ({ issuer }) => ({ issuer }), view: trustedIssuerView });
}

function trustedIssuerView(trusted: TrustedIssuer): z.output<typeof TrustedIssuerView> {
  const { issuer, displayName, jwks, jwksUri, algs, purposes, disabledAt, createdAt, updatedAt } = trusted;
  return {
    issuer,
    display_name: displayName,
    ...(jwks && { jwks }),
    ...(jwksUri !== undefined && { jwks_uri: jwksUri }),
    algs: [...algs],
    purposes: [...purposes],
    disabled: disabledAt !== null,
    disabled_at: timestampOrNull(disabledAt),
    created_at: timestamp(createdAt),
    updated_at: timestamp(updatedAt),
  };
}
