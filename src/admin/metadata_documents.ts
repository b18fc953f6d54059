/** Routes that pin the metadata document of a client, and unpin it. */
import { pinDocument, unpinDocument } from '../registration/document_pin.ts';
import { adminRoute, type AdminRoute } from './admin_call.ts';
import { changeClient, changedClientReply } from './changed_client.ts';
import { ClientParams } from './shared_members.ts';

export const metadataDocumentRoutes: readonly AdminRoute[] = [
  adminRoute({
    method: 'POST',
    path: '/clients/{client_id}/pin',
    scope: 'clients:write',
    tag: 'clients',
    summary: 'Pin the metadata document of a client',
    description: 'The server keeps the copy that it has, and does not fetch the document until you unpin it.',
    params: ClientParams,
    reply: changedClientReply,
    refuses: [404, 409],
    handle: ({ params }, call) => changeClient(call, params.client_id, pinDocument),
  }),
  adminRoute({
    method: 'POST',
    path: '/clients/{client_id}/unpin',
    scope: 'clients:write',
    tag: 'clients',
    summary: 'Unpin the metadata document of a client',
    description: 'The server fetches the document at the next request of the client.',
    params: ClientParams,
    reply: changedClientReply,
    refuses: [404, 409],
    handle: ({ params }, call) => changeClient(call, params.client_id, unpinDocument),
  }),
];
