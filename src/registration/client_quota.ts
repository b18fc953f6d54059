/**
 * Limits the number of self-registered clients under a policy, and removes clients to free places. Only clients that
 * registered without a token and were never used are removed, first those of the network that registered the most. So a
 * flood from one network displaces only its own clients.
 */
import { sql } from 'kysely';
import type { UnitOfWork } from '../audit/unit_of_work.ts';
import { SYSTEM } from '../audit/events.ts';
import { readClient } from '../clients/client_rows.ts';
import { deleteClient } from '../clients/client_store.ts';
import type { Tx } from '../db/connection.ts';
import { sendIn } from '../db/pipeline.ts';
import { networkOf, siteOf } from '../limits/rate_limit_key.ts';
import type { RegistrationPolicy } from './policy.ts';
import { RegistrationRefused } from './refusal.ts';

export type Source = 'registration' | 'metadata_document';

/** The columns for the origin of an unused client. */
export interface UnusedClientOrigin {
  readonly unused_network: string | null;
  readonly unused_site: string | null;
}

/**
 * For a client that is never removed to free a place: it registered with a token, was used, or was changed by an admin.
 */
export const NEVER_DISPLACED: UnusedClientOrigin = { unused_network: null, unused_site: null };

/** The columns for a client that came from this IP address. */
export function unusedClientOrigin(address: string): UnusedClientOrigin {
  return { unused_network: networkOf(address), unused_site: siteOf(address) };
}

/** The share of the quota that never-used clients of one site may take. */
const SHARE_OF_QUOTA = 1 / 10;
/** A small quota still permits a few people behind one address to register at the same time. */
const SHARE_AT_LEAST = 10;
/** Each registration waits for these removals, so a quota that was lowered is reached in small steps. */
const REMOVED_AT_ONCE = 20;
/** More than one, because clients that are in use at this moment are skipped. */
const SITES_LOOKED_AT = 5;

/**
 * Ensures that there is space for one more client. Call it in the transaction that adds the client, with the policy
 * locked, so that two nodes can't both add the last one. Throws `RegistrationRefused` if no client may be removed.
 */
export async function enforceQuota(
  change: UnitOfWork,
  policy: RegistrationPolicy,
  source: Source,
  { unused_site: site }: UnusedClientOrigin,
): Promise<void> {
  const limit = limitOf(policy, source);
  const { total, own } = await countClients(change.tx, policy.name, source, site);
  const share = Math.min(limit, Math.max(SHARE_AT_LEAST, Math.floor(limit * SHARE_OF_QUOTA)));
  const full = new RegistrationRefused({ reason: 'full', policy: policy.name, limit });
  let left = total;
  if (site !== null && own >= share) {
    const removed = await removeUnused(change, { policy: policy.name, source, site, most: own - share + 1 });
    if (removed === 0) throw full;
    left -= removed;
  }
  if (left < limit) return;
  const removed = await removeUnused(change, { policy: policy.name, source, site: null, most: left - limit + 1 });
  if (removed === 0) throw full;
}

function limitOf({ clients_at_most, metadata_documents_at_most }: RegistrationPolicy, source: Source): number {
  return source === 'registration' ? clients_at_most : (metadata_documents_at_most ?? clients_at_most);
}

async function countClients(tx: Tx, policy: string, source: Source, site: string | null) {
  const { rows } = await sql<{ total: number; own: number }>`
    select count(*)::int as total, (count(*) filter (where unused_site = ${site}))::int as own
    from client_registrations where policy = ${policy} and source = ${source}`.execute(tx);
  return rows[0]!;
}

interface Asked {
  readonly policy: string;
  readonly source: Source;
  /** Only clients of this site; `null` for any site. */
  readonly site: string | null;
  readonly most: number;
}

/**
 * Removes the oldest clients of the network with the most, in the site with the most. Resolves to the number removed.
 */
async function removeUnused(change: UnitOfWork, { policy, source, site, most }: Asked): Promise<number> {
  const { rows } = await sql<{ client_id: string }>`
    with sites as (
      select unused_site, count(*) as held, min(created_at) as since from client_registrations
      where policy = ${policy} and source = ${source} and unused_network is not null
        and (${site}::text is null or unused_site = ${site})
      group by unused_site order by held desc, since limit ${SITES_LOOKED_AT}),
    unused as (
      select r.client_id, r.created_at, s.held, s.since,
        count(*) over (partition by r.unused_site, r.unused_network) as of_network
      from sites s join client_registrations r on r.policy = ${policy} and r.source = ${source}
        and r.unused_site = s.unused_site and r.unused_network is not null)
    select c.client_id from unused u join clients c on c.client_id = u.client_id
    where c.revoked_at is null
    order by u.held desc, u.since, u.of_network desc, u.created_at, c.client_id
    limit ${Math.min(most, REMOVED_AT_ONCE)} for update of c skip locked`.execute(change.tx);
  let removed = 0;
  for (const { client_id: clientId } of rows) {
    if (await removeNeverUsed(change, clientId, 'room_needed')) removed++;
  }
  return removed;
}

/**
 * Removes a locked client if it is still unused; it may have been used between the query and the lock. The actor is the
 * system, not the sender of the current request.
 */
export async function removeNeverUsed(
  { origin, ...change }: UnitOfWork,
  clientId: string,
  reason: 'room_needed' | 'never_used',
): Promise<boolean> {
  const { tx, trail, now } = change;
  const row = await tx
    .selectFrom('client_registrations')
    .select(['policy', 'created_at'])
    .where('client_id', '=', clientId)
    .where('unused_network', 'is not', null)
    .executeTakeFirst();
  const client = row && (await readClient(tx, clientId));
  if (!client) return false;
  const ours = { ...origin, actor: SYSTEM.actor };
  const unusedSeconds = Math.max(0, Math.round((now.getTime() - row.created_at.getTime()) / 1_000));
  const details = { policy: row.policy, unused_seconds: unusedSeconds, reason };
  await trail.recordIn(tx, ours, { event: 'client.removed_unused', outcome: 'success', clientId, details });
  await deleteClient({ ...change, origin: ours }, client);
  return true;
}

/**
 * Exempts a client that an admin has changed: only an admin, or the policy's `unused_client_ttl_seconds`, removes it.
 */
export async function keepRegistration({ tx }: Pick<UnitOfWork, 'tx'>, clientId: string): Promise<void> {
  await sendIn(tx, tx.updateTable('client_registrations').set(NEVER_DISPLACED).where('client_id', '=', clientId));
}
