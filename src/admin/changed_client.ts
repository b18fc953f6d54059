/** Changes the state of a client in one transaction, and answers with the client as it is afterwards. */
import type { UnitOfWork } from '../audit/unit_of_work.ts';
import type { ClientWithSecrets } from '../clients/client.ts';
import { lockClient } from '../clients/client_store.ts';
import type { Reply } from '../http/route.ts';
import type { AdminCall } from './admin_call.ts';
import { ClientView, clientTag, clientView, rereadClient } from './client_view.ts';
import { requireScopesToManage } from './privilege_check.ts';

/** The answer as the OpenAPI description has it. */
export const changedClientReply = {
  status: 200,
  description: 'The client after the change.',
  body: ClientView,
  headers: ['ETag'],
};

/** Runs `apply` on the locked client, if the caller may manage it. */
export async function changeClient(
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
