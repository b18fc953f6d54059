/** Removes clients that came by themselves and that nobody uses, where their policy says so. */
import { sql } from 'kysely';
import type { AuditTrail } from '../audit/trail.ts';
import { SYSTEM } from '../audit/events.ts';
import { readClient } from '../clients/client_rows.ts';
import { deleteClient } from '../clients/registration.ts';
import type { Database, Tx } from '../db/connection.ts';
import { transact } from '../db/transaction.ts';

const BATCH = 50;
const BATCHES_AT_ONCE = 20;

/**
 * Unused is a client that is older than its policy's `unused_client_ttl_seconds`, has no grant, consent, device or
 * running login, and has not proved itself with a secret since then. Revoked ones stay: a URL would come back as new. So
 * do those that use client credentials with a key of their own, which leaves no trace. Answers how many went.
 */
export async function removeUnusedClients(database: Database, trail: AuditTrail, now: Date): Promise<number> {
  let removed = 0;
  for (let batch = 0; batch < BATCHES_AT_ONCE; batch++) {
    const went = await transact(database, async (tx) => {
      const unused = await lockUnused(tx, now);
      for (const { client_id: clientId, policy, unused_client_ttl_seconds: unusedSeconds } of unused) {
        const client = await readClient(tx, clientId);
        if (!client) continue;
        const details = { policy, unused_seconds: unusedSeconds };
        await trail.recordIn(tx, SYSTEM, { event: 'client.removed_unused', outcome: 'success', clientId, details });
        await deleteClient({ tx, trail, origin: SYSTEM, now }, client);
      }
      return unused.length;
    });
    removed += went;
    if (went < BATCH) break;
  }
  return removed;
}

async function lockUnused(tx: Tx, now: Date) {
  const { rows } = await sql<{ client_id: string; policy: string; unused_client_ttl_seconds: number }>`
    select c.client_id, p.name as policy, p.unused_client_ttl_seconds
    from registration_policies p
      join client_registrations r on r.policy = p.name
        and r.created_at < ${now}::timestamptz - make_interval(secs => p.unused_client_ttl_seconds)
      join clients c on c.client_id = r.client_id
    where p.unused_client_ttl_seconds is not null and c.revoked_at is null
      and not exists (select from grants g where g.client_id = c.client_id)
      and not exists (select from consents s where s.client_id = c.client_id)
      and not exists (select from device_codes d where d.client_id = c.client_id and d.expires_at > ${now})
      and not exists (select from artifacts a where a.client_id = c.client_id and a.expires_at > ${now})
      and not exists (select from client_secrets k where k.client_id = c.client_id
        and k.last_used_at > ${now}::timestamptz - make_interval(secs => p.unused_client_ttl_seconds))
      and not (c.metadata->>'token_endpoint_auth_method' = 'private_key_jwt'
        and c.metadata->'grant_types' ? 'client_credentials')
    order by r.created_at limit ${BATCH} for update of c skip locked`.execute(tx);
  return rows;
}
