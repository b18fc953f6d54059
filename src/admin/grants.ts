/** Routes for grants and consents: which clients hold tokens for an account, and what its owner has consented to. */
import { z } from 'zod';
import { findAccount } from '../accounts/account.ts';
import { listConsents, withdrawConsent } from '../accounts/consents.ts';
import { allowedAtApis } from '../accounts/data_for_apis.ts';
import { endGrant, listGrants, type GrantView } from '../accounts/sessions.ts';
import { notFound } from '../base/refusal.ts';
import { NO_CONTENT } from '../http/route.ts';
import { adminRoute, type AdminCall, type AdminRoute } from './admin_call.ts';
import { pageOf, paging, type List } from './cursors.ts';
import { AccountParams, Timestamp, timestamp } from './shared_members.ts';

const Grant = z
  .strictObject({
    grant_id: z.string().describe('The same value as the gid claim of the tokens.'),
    client_id: z.string(),
    sub: z.string().describe('The subject in the tokens of this client: the account_id, or a pairwise subject.'),
    scopes: z.array(z.string()),
    created_at: Timestamp,
    expires_at: Timestamp,
  })
  .meta({ id: 'Grant' });

const ConsentView = z
  .strictObject({
    client_id: z.string(),
    openid_scopes: z.array(z.string()),
    claims: z.array(z.string()),
    resources: z.array(
      z.strictObject({
        resource: z.string(),
        scopes: z.array(z.string()),
        claims: z.array(z.string()).describe('What this API may read at userinfo, beside what its scopes say.'),
      }),
    ),
    given_at: Timestamp,
  })
  .meta({ id: 'Consent' });

const ListQuery = z.strictObject(paging);
type ListQuery = z.output<typeof ListQuery>;

export const grantRoutes: readonly AdminRoute[] = [
  adminRoute({
    method: 'GET',
    path: '/accounts/{account_id}/grants',
    scope: 'grants:read',
    tag: 'grants',
    summary: 'List the grants of an account, newest first',
    params: AccountParams,
    query: ListQuery,
    reply: { status: 200, description: 'A page of grants.', body: pageOf(Grant) },
    refuses: [404],
    handle: ({ params, query }, call) => grants(call, params.account_id, query),
  }),
  adminRoute({
    method: 'DELETE',
    path: '/accounts/{account_id}/grants/{grant_id}',
    scope: 'grants:revoke',
    tag: 'grants',
    summary: 'End a grant and all its tokens',
    params: AccountParams.extend({ grant_id: z.string().max(512).describe('A grant of this account.') }),
    reply: { status: 204, description: 'The grant has ended.' },
    refuses: [404],
    handle: ({ params }, call) =>
      call.write(async (work) => {
        const ended = await endGrant(work, params.account_id, params.grant_id);
        if (!ended) throw notFound('The account has no grant with this id.');
        return NO_CONTENT;
      }),
  }),
  adminRoute({
    method: 'GET',
    path: '/accounts/{account_id}/consents',
    scope: 'grants:read',
    tag: 'grants',
    summary: 'List the consents of an account, newest first',
    params: AccountParams,
    query: ListQuery,
    reply: { status: 200, description: 'A page of consents.', body: pageOf(ConsentView) },
    refuses: [404],
    handle: ({ params, query }, call) => consents(call, params.account_id, query),
  }),
  adminRoute({
    method: 'DELETE',
    path: '/accounts/{account_id}/consents/{client_id}',
    scope: 'grants:revoke',
    tag: 'grants',
    summary: 'Withdraw a consent, and end the client’s grants for the account',
    params: AccountParams.extend({ client_id: z.string().max(512).describe('The client that the consent was for.') }),
    reply: { status: 204, description: 'The consent is withdrawn.' },
    refuses: [404],
    handle: ({ params }, call) =>
      call.write(async (work) => {
        const withdrawn = await withdrawConsent(work, params.account_id, params.client_id);
        if (!withdrawn) throw notFound('The account has no consent for this client.');
        return NO_CONTENT;
      }),
  }),
];

type GrantPosition = { readonly created_at: string; readonly id: string };

async function grants(call: AdminCall, accountId: string, { limit, cursor }: ListQuery) {
  const list: List = { name: 'grants', filters: { account_id: accountId } };
  const after = await call.openCursor<GrantPosition>(list, cursor);
  await requireAccount(call, accountId);
  const rows = await listGrants(call.dependencies.database, accountId, call.now, {
    limit: limit + 1,
    after: after && { createdAt: new Date(after.created_at), id: after.id },
  });
  const named = await Promise.all(rows.map(async (row) => ({ ...row, sub: await subjectFor(call, accountId, row) })));
  return call.page(list, {
    rows: named,
    limit,
    position: ({ createdAt, grantId }): GrantPosition => ({ created_at: createdAt.toISOString(), id: grantId }),
    view: ({ grantId, clientId, sub, scopes, createdAt, expiresAt }) => ({
      grant_id: grantId,
      client_id: clientId,
      sub,
      scopes: [...scopes],
      created_at: timestamp(createdAt),
      expires_at: timestamp(expiresAt),
    }),
  });
}

async function subjectFor(call: AdminCall, accountId: string, { clientId }: GrantView): Promise<string> {
  const client = await call.dependencies.clients.find(clientId);
  // a client that was deleted a moment ago has no grants any more either
  return client ? call.dependencies.subjects(accountId, client) : accountId;
}

type ConsentPosition = { readonly given_at: string; readonly client_id: string };

async function consents(call: AdminCall, accountId: string, { limit, cursor }: ListQuery) {
  const list: List = { name: 'consents', filters: { account_id: accountId } };
  const after = await call.openCursor<ConsentPosition>(list, cursor);
  await requireAccount(call, accountId);
  const rows = await listConsents(call.dependencies.database, accountId, {
    limit: limit + 1,
    after: after && { givenAt: new Date(after.given_at), clientId: after.client_id },
  });
  return call.page(list, {
    rows,
    limit,
    position: ({ givenAt, clientId }): ConsentPosition => ({ given_at: givenAt.toISOString(), client_id: clientId }),
    view: ({ clientId, scopes, givenAt }) => ({
      client_id: clientId,
      openid_scopes: [...scopes.openid],
      claims: [...scopes.claims],
      resources: allowedAtApis(scopes.resources),
      given_at: timestamp(givenAt),
    }),
  });
}

async function requireAccount(call: AdminCall, accountId: string): Promise<void> {
  const account = await findAccount(call.dependencies.database, accountId);
  if (!account) throw notFound(`Account ${accountId} not found.`);
}
