/** Routes that pin the metadata document of a client, and unpin it. */
import type { UnitOfWork } from '../audit/unit_of_work.ts';
import type { ClientWithSecrets } from '../clients/client.ts';
import { lockClient } from '../clients/client_store.ts';
import type { Reply } from '../http/route.ts';
import { pinDocument, unpinDocument } from '../registration/document_pin.ts';
import { adminRoute, type AdminCall, type AdminRoute } from './admin_call.ts';
import { ClientView, clientTag, clientView, rereadClient } from './client_view.ts';
import { ClientParams } from './shared_members.ts';
import { requireScopesToManage } from './privilege_check.ts';

const reply = { status: 200, description: 'The client after the change.', body: ClientView, headers: ['ETag'] };

export const metadataDocumentRoutes: readonly AdminRoute[] = [
  adminRoute({
    method: 'POST',
    path: '/clients/{client_id}/pin',
    scope: 'clients:write',
    tag: 'clients',
    summary: 'Pin the metadata document of a client',
    description: 'The server keeps the copy that it has, and does not fetch the document until you unpin it.',
    params: ClientParams,
    reply,
    refuses: [404, 409],
    handle: ({ params }, call) => changed(call, params.client_id, pinDocument),
  }),
  adminRoute({
    method: 'POST',
    path: '/clients/{client_id}/unpin',
    scope: 'clients:write',
    tag: 'clients',
    summary: 'Unpin the metadata document of a client',
    description: 'The server fetches the document at the next request of the client.',
    params: ClientParams,
    reply,
    refuses: [404, 409],
    handle: ({ params }, call) => changed(call, params.client_id, unpinDocument),
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
