/**
 * Pins a client's metadata document: its stored copy stays in force, and the server does not fetch the document until
 * an admin unpins it. Each function runs in its caller's transaction, with the client locked.
 */
import type { UnitOfWork } from '../audit/unit_of_work.ts';
import { conflict } from '../base/refusal.ts';
import type { ClientWithSecrets } from '../clients/client.ts';
import { recordChange } from '../invalidation/log.ts';
import { NEVER_DISPLACED } from './client_quota.ts';

/** Throws `conflict` if the client has no document, or if it is pinned already. */
export async function pinDocument(change: UnitOfWork, client: ClientWithSecrets): Promise<void> {
  if (documentOf(client).documentIsPinned) throw conflict(`The document of ${client.clientId} is pinned already.`);
  const { tx, now } = change;
  // a client that an admin has looked after is not removed to free a place
  await tx
    .updateTable('client_registrations')
    .set({ document_pinned_at: now, ...NEVER_DISPLACED })
    .where('client_id', '=', client.clientId)
    .execute();
  await recordPin(change, client, 'client.document_pinned');
}

/** The next request fetches the document. Throws `conflict` if it is not pinned. */
export async function unpinDocument(change: UnitOfWork, client: ClientWithSecrets): Promise<void> {
  if (!documentOf(client).documentIsPinned) throw conflict(`The document of ${client.clientId} is not pinned.`);
  const { tx, now } = change;
  await tx
    .updateTable('client_registrations')
    .set({ document_pinned_at: null, document_fresh_until: now })
    .where('client_id', '=', client.clientId)
    .execute();
  await recordPin(change, client, 'client.document_unpinned');
}

function documentOf({ clientId, registration }: ClientWithSecrets) {
  if (registration?.source === 'metadata_document') return registration;
  throw conflict(`${clientId} has no metadata document: its client_id is not the URL of one.`);
}

async function recordPin(
  { tx, trail, origin, now }: UnitOfWork,
  { clientId, version }: ClientWithSecrets,
  event: 'client.document_pinned' | 'client.document_unpinned',
): Promise<void> {
  await tx
    .updateTable('clients')
    .set({ version: version + 1, updated_at: now })
    .where('client_id', '=', clientId)
    .execute();
  await trail.recordIn(tx, origin, { event, outcome: 'success', clientId });
  await recordChange(tx, { topic: 'client', key: clientId }, now);
}
