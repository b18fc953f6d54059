/** Route that lists the unexpired, unrevoked JWT access tokens of a client. */
import { z } from 'zod';
import { notFound } from '../base/refusal.ts';
import { readClient } from '../clients/client_rows.ts';
import { listLiveTokens } from '../clients/live_tokens.ts';
import { OPENID_SCOPES } from '../resources/resource.ts';
import { adminRoute, type AdminCall, type AdminRoute } from './admin_call.ts';
import { pageOf, paging, type List } from './cursors.ts';
import { ClientParams, Timestamp, timestamp } from './shared_members.ts';

const LiveTokenView = z
  .strictObject({
    jti: z.string().describe('Identifies the token; it is not the token itself.'),
    resource: z.string(),
    with_userinfo: z.boolean().describe('True for a token that is for userinfo too.'),
    scope: z.string().nullable(),
    grant_type: z.string(),
    account_id: z.string().nullable().describe('The account that the token acts for, if there is one.'),
    grant_id: z.string().nullable(),
    jkt: z.string().nullable().describe('Thumbprint of the key that the token is bound to (RFC 9449).'),
    issued_at: Timestamp,
    expires_at: Timestamp,
  })
  .meta({ id: 'LiveToken' });

const ListQuery = z.strictObject(paging);

export const liveTokenRoutes: readonly AdminRoute[] = [
  adminRoute({
    method: 'GET',
    path: '/clients/{client_id}/tokens',
    scope: 'clients:read',
    tag: 'clients',
    summary: 'List the live JWT access tokens of a client, those that expire last first',
    description:
      'Read from the audit trail, without tokens that have ended: one by one, with their grant, with the client, or with a token or issuer that they come from. Opaque tokens for userinfo and refresh tokens are not listed; they belong to their grants.',
    params: ClientParams,
    query: ListQuery,
    reply: { status: 200, description: 'A page of tokens.', body: pageOf(LiveTokenView) },
    refuses: [404],
    handle: ({ params, query }, call) => list(call, params.client_id, query),
  }),
];

type TokenPosition = { readonly expires_at: string; readonly jti: string };

async function list(call: AdminCall, clientId: string, { limit, cursor }: z.output<typeof ListQuery>) {
  const { database } = call.dependencies;
  const tokens: List = { name: 'tokens', filters: { client_id: clientId } };
  const after = await call.openCursor<TokenPosition>(tokens, cursor);
  if (!(await readClient(database, clientId))) throw notFound(`Client ${clientId} not found.`);
  const rows = await listLiveTokens(database, clientId, call.now, {
    limit: limit + 1,
    ownScopes: OPENID_SCOPES,
    after: after && { expiresAt: after.expires_at, jti: after.jti },
  });
  return call.page(tokens, {
    rows,
    limit,
    position: ({ expiresAt, jti }): TokenPosition => ({ expires_at: expiresAt.toISOString(), jti }),
    view: ({ jti, resource, withUserinfo, scope, grantType, accountId, grantId, jkt, issuedAt, expiresAt }) => ({
      jti,
      resource,
      with_userinfo: withUserinfo,
      scope,
      grant_type: grantType,
      account_id: accountId,
      grant_id: grantId,
      jkt,
      issued_at: timestamp(issuedAt),
      expires_at: timestamp(expiresAt),
    }),
  });
}
