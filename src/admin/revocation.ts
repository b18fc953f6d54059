/** Routes that revoke a client with all its tokens, grants and sessions, and restore it. */
import { z } from 'zod';
import { restoreClient, revokeClient } from '../clients/client_store.ts';
import { adminRoute, type AdminRoute } from './admin_call.ts';
import { changeClient, changedClientReply } from './changed_client.ts';
import { ClientParams, Reason } from './shared_members.ts';
import { refuseSelf } from './privilege_check.ts';

export const revocationRoutes: readonly AdminRoute[] = [
  adminRoute({
    method: 'POST',
    path: '/clients/{client_id}/revoke',
    scope: 'clients:revoke',
    tag: 'revocation',
    summary: 'Revoke a client',
    description: 'The client gets no new tokens. All its tokens, grants and sessions end at once.',
    params: ClientParams,
    body: z
      .strictObject({ reason: Reason })
      .meta({ id: 'Revocation', examples: [{ reason: 'Its secret was found in a public repository' }] }),
    reply: changedClientReply,
    refuses: [404, 409],
    handle: ({ params, body }, call) =>
      changeClient(call, params.client_id, (work, client) => {
        refuseSelf(call, client, 'revoke');
        return revokeClient(work, client, body.reason);
      }),
  }),
  adminRoute({
    method: 'POST',
    path: '/clients/{client_id}/restore',
    scope: 'clients:revoke',
    tag: 'revocation',
    summary: 'Restore a revoked client',
    description: 'The client gets its settings and secrets back. Old tokens stay invalid.',
    params: ClientParams,
    reply: changedClientReply,
    refuses: [404, 409],
    handle: ({ params }, call) => changeClient(call, params.client_id, restoreClient),
  }),
];
