/** Removes self-registered clients that are unused or were never used, as their policy says. */
import { sql } from 'kysely';
import type { UnitOfWork } from '../audit/unit_of_work.ts';
import type { AuditTrail } from '../audit/trail.ts';
import { SYSTEM } from '../audit/events.ts';
import { readClient } from '../clients/client_rows.ts';
import { deleteClient } from '../clients/client_store.ts';
import type { Database, Tx } from '../db/connection.ts';
import { transact } from '../db/transaction.ts';
import { removeNeverUsed } from './client_quota.ts';
import { NEVER_USED_SECONDS } from './policy.ts';

const BATCH = 50;
const BATCHES_AT_ONCE = 20;

/**
 * Removes unused clients; resolves to their number. A client is unused if it is older than its policy's
 * `unused_client_ttl_seconds`, has no grant, consent, device code or running login, and has not authenticated with a
 * secret in that time. Clients that use client credentials with a key of their own stay, because the database does not
 * record their use. Clients that registered without a token and were never used are removed after
 * `never_used_client_ttl_seconds`. Revoked clients always stay, because the client of a URL would otherwise be created
 * again.
 */
export async function removeUnusedClients(database: Database, trail: AuditTrail, now: Date): Promise<number> {
  const change = { trail, origin: SYSTEM, now };
  const unused = await inBatches((limit) => transact(database, (tx) => removeUnused({ ...change, tx }, limit)));
  return unused + (await inBatches((limit) => transact(database, (tx) => removeStale({ ...change, tx }, limit))));
}

/** `remove` resolves to the number of clients that it found and removed. */
async function inBatches(remove: (limit: number) => Promise<{ found: number; removed: number }>): Promise<number> {
  let total = 0;
  for (let batch = 0; batch < BATCHES_AT_ONCE; batch++) {
    const { found, removed } = await remove(BATCH);
    total += removed;
    if (found < BATCH) break;
  }
  return total;
}

async function removeUnused(change: UnitOfWork, limit: number): Promise<{ found: number; removed: number }> {
  const { tx, trail, now } = change;
  const unused = await lockUnused(tx, now, limit);
  for (const { client_id: clientId, policy, unused_client_ttl_seconds: unusedSeconds } of unused) {
    const client = await readClient(tx, clientId);
    if (!client) continue;
    const details = { policy, unused_seconds: unusedSeconds, reason: 'unused' };
    await trail.recordIn(tx, SYSTEM, { event: 'client.removed_unused', outcome: 'success', clientId, details });
    await deleteClient(change, client);
  }
  return { found: unused.length, removed: unused.length };
}

async function removeStale(change: UnitOfWork, limit: number): Promise<{ found: number; removed: number }> {
  const stale = await lockNeverUsed(change.tx, change.now, limit);
  let removed = 0;
  for (const { client_id: clientId } of stale) {
    if (await removeNeverUsed(change, clientId, 'never_used')) removed++;
  }
  return { found: stale.length, removed };
}

/** A running login does not count as use: otherwise an attacker could keep a client by starting logins repeatedly. */
async function lockNeverUsed(tx: Tx, now: Date, limit: number) {
  const { rows } = await sql<{ client_id: string }>`
    select c.client_id
    from registration_policies p
      join client_registrations r on r.policy = p.name and r.unused_network is not null
        and r.created_at < ${now}::timestamptz - make_interval(secs =>
          coalesce((p.settings->>'never_used_client_ttl_seconds')::int, ${NEVER_USED_SECONDS}::int))
      join clients c on c.client_id = r.client_id
    where c.revoked_at is null
    order by r.created_at limit ${limit} for update of c skip locked`.execute(tx);
  return rows;
}

async function lockUnused(tx: Tx, now: Date, limit: number) {
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
    order by r.created_at limit ${limit} for update of c skip locked`.execute(tx);
  return rows;
}
