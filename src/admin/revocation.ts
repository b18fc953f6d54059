/** Routes that revoke a client with all its tokens, grants and sessions, and restore it. */
import { z } from 'zod';
import type { UnitOfWork } from '../audit/unit_of_work.ts';
import type { ClientWithSecrets } from '../clients/client.ts';
import { lockClient, restoreClient, revokeClient } from '../clients/client_store.ts';
import type { Reply } from '../http/route.ts';
import { adminRoute, type AdminCall, type AdminRoute } from './admin_call.ts';
import { ClientView, clientTag, clientView, rereadClient } from './client_view.ts';
import { ClientParams, Reason } from './shared_members.ts';
import { refuseSelf, requireScopesToManage } from './privilege_check.ts';

const reply = { status: 200, description: 'The client after the change.', body: ClientView, headers: ['ETag'] };

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
    reply,
    refuses: [404, 409],
    handle: ({ params, body }, call) =>
      changed(call, params.client_id, (work, client) => {
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
    reply,
    refuses: [404, 409],
    handle: ({ params }, call) => changed(call, params.client_id, restoreClient),
  }),
];

async function changed(
  call: AdminCall,
  clientId: string,
  apply: (work: UnitOfWork, client: ClientWithSecrets) => Promise<void>,
): Promise<Reply<ClientView>> {
  return call.write(async (work) => {
    const locked = await lockClient(work.tx, clientId);
    requireScopesToManage(call, locked);
    await apply(work, locked);
    const client = await rereadClient(work.tx, clientId);
    return { status: 200, headers: { ETag: clientTag(client, call.now) }, body: clientView(client, call.now) };
  });
}
