/**
 * How many clients may come by themselves under a policy, and who makes room when there are too many. Only clients that
 * came without a token and were never used have to go: those of the network that holds most of them first. So a flood
 * from one network takes the place of itself, and of nothing else.
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

/** The columns that say where an unused client came from. */
export interface Whence {
  readonly unused_network: string | null;
  readonly unused_site: string | null;
}

/** For a client that never makes room: it came with a token, was used, or was changed by an admin. */
export const KEPT: Whence = { unused_network: null, unused_site: null };

export function whenceOf(address: string): Whence {
  return { unused_network: networkOf(address), unused_site: siteOf(address) };
}

/** Of its quota, what one site may take up with clients that were never used. */
const SHARE_OF_QUOTA = 1 / 10;
/** A small quota has room for a few people behind one address, who register at the same time. */
const SHARE_AT_LEAST = 10;
/** A quota that was lowered is reached in small steps: each registration waits for these removals. */
const REMOVED_AT_ONCE = 20;
/** More than one: a client that is being used at this moment is passed over. */
const SITES_LOOKED_AT = 5;

/**
 * Makes sure that one more client has room: part of the transaction that adds it, while the policy is locked, so that two
 * nodes can't both add the last one. Throws `RegistrationRefused` where no client may be removed.
 */
export async function makeRoom(
  change: UnitOfWork,
  policy: RegistrationPolicy,
  source: Source,
  { unused_site: site }: Whence,
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
  /** Of this site alone. */
  readonly site: string | null;
  readonly most: number;
}

/** The oldest of the network with most of them, in the site with most of them. Answers how many went. */
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
 * Removes a locked client if it is still unused: it may have been used between the statement that found it and the lock.
 * The node does this by itself, in whichever request.
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

/** An admin has changed the client: it stays until an admin, or the policy's `unused_client_ttl_seconds`, ends it. */
export async function keepRegistration({ tx }: Pick<UnitOfWork, 'tx'>, clientId: string): Promise<void> {
  await sendIn(tx, tx.updateTable('client_registrations').set(KEPT).where('client_id', '=', clientId));
}
