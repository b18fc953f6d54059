/** Routes for initial access tokens: with one, clients can register under a policy without an admin. */
import { z } from 'zod';
import { notFound } from '../base/refusal.ts';
import { NO_CONTENT } from '../http/route.ts';
import { makeInitialAccessToken } from '../registration/bearer_tokens.ts';
import {
  createInitialAccessToken,
  findInitialAccessToken,
  readInitialAccessTokens,
  revokeInitialAccessToken,
  type InitialAccessToken,
} from '../registration/initial_access_tokens.ts';
import { policyName } from '../registration/policy.ts';
import { adminRoute, type AdminCall, type AdminRoute } from './admin_call.ts';
import { pageOf, paging, type List } from './cursors.ts';
import { Reason, Timestamp, timestamp, timestampOrNull } from './shared_members.ts';
import { adminResourceIdentifier } from './scopes.ts';

const TokenView = z
  .strictObject({
    token_id: z.string(),
    policy: z.string(),
    note: z.string().nullable(),
    uses: z.int().describe('How many clients the token was issued for.'),
    uses_left: z.int(),
    created_at: Timestamp,
    expires_at: Timestamp,
    revoked_at: Timestamp.nullable(),
  })
  .meta({ id: 'InitialAccessToken' });

const NewToken = z
  .strictObject({
    policy: policyName.describe('The registration policy that applies to clients registered with this token.'),
    uses: z
      .int('must be a whole number')
      .min(1, 'must be at least 1')
      .max(10_000, 'must be at most 10000')
      .default(1)
      .describe('How many clients may register with the token.'),
    expires_in_seconds: z
      .int('must be a whole number of seconds')
      .min(60, 'must be at least 60 seconds')
      .max(31_536_000, 'must be at most a year (31536000)')
      .default(86_400),
    note: Reason.describe('Who or what the token is for.').optional(),
  })
  .meta({ id: 'NewInitialAccessToken', examples: [{ policy: 'partners', uses: 1, note: 'Partner Inc., billing' }] });

const CreatedToken = TokenView.extend({
  initial_access_token: z.string().describe('Shown only in this response.'),
}).meta({ id: 'MadeInitialAccessToken' });

const TokenParams = z.strictObject({ token_id: z.string().max(100).describe('The token’s id, not its value.') });
const ListQuery = z.strictObject({ ...paging, policy: policyName.optional().describe('Only tokens of this policy.') });

export const initialAccessTokenRoutes: readonly AdminRoute[] = [
  adminRoute({
    method: 'POST',
    path: '/initial-access-tokens',
    scope: 'clients:write',
    tag: 'registration',
    summary: 'Create an initial access token',
    body: NewToken,
    reply: {
      status: 201,
      description: 'The token; its value is shown only in this response.',
      body: CreatedToken,
      headers: ['Location'],
    },
    async handle({ body }, call) {
      const value = makeInitialAccessToken();
      return call.write(async (work) => {
        const { expires_in_seconds: expiresInSeconds, ...rest } = body;
        const token = await createInitialAccessToken(work, value, { ...rest, expiresInSeconds });
        const path = `/initial-access-tokens/${token.tokenId}`;
        return {
          status: 201,
          headers: { Location: adminResourceIdentifier(call.dependencies.issuer) + path },
          body: { ...tokenView(token), initial_access_token: value.reveal() },
        };
      });
    },
  }),
  adminRoute({
    method: 'GET',
    path: '/initial-access-tokens',
    scope: 'clients:read',
    tag: 'registration',
    summary: 'List initial access tokens without their values, oldest first',
    query: ListQuery,
    reply: { status: 200, description: 'A page of tokens.', body: pageOf(TokenView) },
    handle: ({ query }, call) => list(call, query),
  }),
  adminRoute({
    method: 'GET',
    path: '/initial-access-tokens/{token_id}',
    scope: 'clients:read',
    tag: 'registration',
    summary: 'Show an initial access token without its value',
    params: TokenParams,
    reply: { status: 200, description: 'The token.', body: TokenView },
    refuses: [404],
    async handle({ params }, call) {
      const token = await findInitialAccessToken(call.dependencies.database, params.token_id);
      if (!token) throw notFound('Initial access token not found.');
      return { status: 200, body: tokenView(token) };
    },
  }),
  adminRoute({
    method: 'DELETE',
    path: '/initial-access-tokens/{token_id}',
    scope: 'clients:write',
    tag: 'registration',
    summary: 'Revoke an initial access token',
    description: 'Clients that registered with the token stay registered.',
    params: TokenParams,
    reply: { status: 204, description: 'The token is revoked; no client can register with it any more.' },
    refuses: [404],
    handle: ({ params }, call) =>
      call.write(async (work) => {
        await revokeInitialAccessToken(work, params.token_id);
        return NO_CONTENT;
      }),
  }),
];

type TokenPosition = { readonly created_at: string; readonly token_id: string };

async function list(call: AdminCall, { limit, cursor, policy }: z.output<typeof ListQuery>) {
  const tokens: List = { name: 'initial_access_tokens', filters: { policy } };
  const after = await call.openCursor<TokenPosition>(tokens, cursor);
  const rows = await readInitialAccessTokens(call.dependencies.database, {
    limit: limit + 1,
    policy,
    after: after && { createdAt: new Date(after.created_at), tokenId: after.token_id },
  });
  return call.page(tokens, {
    rows,
    limit,
    position: ({ createdAt, tokenId }): TokenPosition => ({ created_at: createdAt.toISOString(), token_id: tokenId }),
    view: tokenView,
  });
}

function tokenView(token: InitialAccessToken): z.output<typeof TokenView> {
  return {
    token_id: token.tokenId,
    policy: token.policy,
    note: token.note,
    uses: token.uses,
    uses_left: token.usesLeft,
    created_at: timestamp(token.createdAt),
    expires_at: timestamp(token.expiresAt),
    revoked_at: timestampOrNull(token.revokedAt),
  };
}
