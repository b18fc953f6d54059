/**
 * Clients whose client_id is the URL of their metadata. The first time such a URL is named its document is fetched by the
 * guarded way and becomes a client like any other: a row that grants and consents refer to, that every node finds, and
 * that an admin can revoke. It is fetched again when what it said is no longer fresh.
 */
import type { UnitOfWork } from '../audit/unit_of_work.ts';
import type { Origin } from '../audit/events.ts';
import type { AuditTrail } from '../audit/trail.ts';
import { addSeconds, type Clock } from '../base/clock.ts';
import { Refused } from '../base/refusal.ts';
import type { InvalidationFollower } from '../invalidation/follower.ts';
import { recordChange } from '../invalidation/log.ts';
import type { ClientWithSecrets } from '../clients/client.ts';
import type { ClientDirectory } from '../clients/client_directory.ts';
import { readClient } from '../clients/client_rows.ts';
import type { ClientMetadata } from '../clients/metadata/client_metadata.ts';
import { createClient, lockClient, updateClient } from '../clients/client_store.ts';
import { readSector, type FetchDocument, type SectorDocument } from '../clients/sector.ts';
import type { Database } from '../db/connection.ts';
import { transact } from '../db/transaction.ts';
import type { Egress } from '../egress/egress.ts';
import { EgressFailed } from '../egress/failure.ts';
import type { CachedResponse } from '../egress/response_cache.ts';
import { networkOf } from '../limits/rate_limit_key.ts';
import type { Registrations } from '../limits/registrations.ts';
import { makeRoom, whenceOf } from './client_quota.ts';
import { isDocumentUrl, isTakenFrom, readDocument } from './metadata_document.ts';
import { lockPolicy } from './policies.ts';
import type { RegistrationPolicy } from './policy.ts';
import type { PolicyDirectory } from './policy_directory.ts';
import { errorOf, ofChange, reasonOf, RegistrationRefused } from './refusal.ts';
import { patchFor, recordRegistered, withHeld } from './self_registered_clients.ts';

export interface MetadataDocumentsSettings {
  readonly database: Database;
  readonly directory: ClientDirectory;
  readonly egress: Pick<Egress, 'get'>;
  readonly fetchDocument: FetchDocument;
  readonly policies: PolicyDirectory;
  readonly limits: Registrations;
  readonly trail: AuditTrail;
  readonly changes: InvalidationFollower;
  readonly clock: Clock;
}

/** A client, or why there is none in words for its developer; neither, where nothing more is to be said. */
export interface Found {
  readonly client?: ClientWithSecrets;
  readonly objection?: string;
}

/** However short its max-age: a look costs a fetch, and a row that all nodes hear of. */
const FRESH_SECONDS_LEAST = 300;
/** While the document can't be had, what it said last counts for this long at most. */
const OUTAGE_SECONDS = 3_600;

export class MetadataDocuments {
  readonly #settings: MetadataDocumentsSettings;
  readonly #underWay = new Map<string, Promise<Found>>();

  constructor(settings: MetadataDocumentsSettings) {
    this.#settings = settings;
  }

  /** Nothing is fetched unless a policy takes the URL, and for one that nobody has named before the asker is counted. */
  async find(clientId: string, origin: Origin): Promise<Found> {
    const { directory, policies, clock } = this.#settings;
    const policy = policies.forDocuments;
    if (!policy || !isDocumentUrl(clientId) || !isTakenFrom(policy, clientId)) return {};
    const known = await directory.find(clientId);
    if (known && (known.revokedAt || isFresh(known, clock()))) return { client: known };
    const underWay = this.#underWay.get(clientId);
    if (underWay) return underWay;
    const looking = this.#look(policy, clientId, known, origin).finally(() => this.#underWay.delete(clientId));
    this.#underWay.set(clientId, looking);
    return looking;
  }

  async #look(
    policy: RegistrationPolicy,
    clientId: string,
    known: ClientWithSecrets | undefined,
    origin: Origin,
  ): Promise<Found> {
    const { limits, egress, clock, trail } = this.#settings;
    const now = clock();
    if (!known && !(await limits.admitDocument(origin.address ?? '')).admitted) {
      return { objection: 'too many client metadata documents were asked for from your address; come back later' };
    }
    try {
      const answer = await egress.get(clientId, { asker: origin.address ? networkOf(origin.address) : undefined });
      const sector = await this.#readSector(policy, clientId, answer, known);
      return { client: await this.#keep({ policyName: policy.name, clientId, answer, sector }, { origin, now }) };
    } catch (error) {
      if (error instanceof EgressFailed && known && outlasts(known, now)) return { client: known };
      const refusal = refusalOf(error);
      const details = { error: 'invalid_client', reason: reasonOf(refusal) };
      const event = { event: 'registration.refused', outcome: 'refused', clientId, details } as const;
      await trail.refusals.record(origin, event);
      return { objection: errorOf(refusal).description };
    }
  }

  /** What vouches for the sector that the document would put the client in. */
  async #readSector(
    policy: RegistrationPolicy,
    clientId: string,
    answer: CachedResponse,
    known: ClientWithSecrets | undefined,
  ): Promise<SectorDocument | undefined> {
    const metadata = readDocument(policy, clientId, answer);
    const after = known ? { ...metadata, ...withHeld(known, metadata) } : metadata;
    return readSector(after, this.#settings.fetchDocument, known?.metadata);
  }

  /** Makes the client, or brings it up to date; another node may be doing the same. */
  async #keep(fetched: Fetched, { origin, now }: Pick<UnitOfWork, 'origin' | 'now'>): Promise<ClientWithSecrets> {
    const { database, trail, changes } = this.#settings;
    const keep = (): Promise<ClientWithSecrets> =>
      transact(database, (tx) => storeDocument({ tx, trail, origin, now }, fetched));
    const client = await keep().catch((error: unknown) => {
      // the other node was quicker: what it made is there now
      if (error instanceof Refused && error.refusal.reason === 'conflict') return keep();
      throw error;
    });
    // a node that can't read the log now will, and until then looks at its row
    await changes.catchUp().catch(() => {});
    return client;
  }
}

interface Fetched {
  readonly policyName: string;
  readonly clientId: string;
  readonly answer: CachedResponse;
  readonly sector: SectorDocument | undefined;
}

async function storeDocument(
  change: UnitOfWork,
  { policyName, clientId, answer, sector }: Fetched,
): Promise<ClientWithSecrets> {
  const { tx, now } = change;
  const { policy } = await lockPolicy(tx, policyName);
  const metadata = readDocument(policy, clientId, answer);
  const known = await readClient(tx, clientId);
  const times = {
    document_fetched_at: answer.fetchedAt,
    document_fresh_until: later(answer.freshUntil, addSeconds(now, FRESH_SECONDS_LEAST)),
  };
  if (known) {
    await bringUpToDate(change, clientId, metadata, sector);
    await tx
      .updateTable('client_registrations')
      .set({ ...times, policy: policy.name })
      .where('client_id', '=', clientId)
      .execute();
    await recordChange(tx, { topic: 'client', key: clientId }, now);
  } else {
    const whence = whenceOf(change.origin.address ?? '');
    await makeRoom(change, policy, 'metadata_document', whence);
    await createClient(change, metadata, clientId, sector);
    const registration = { client_id: clientId, source: 'metadata_document', policy: policy.name } as const;
    await tx
      .insertInto('client_registrations')
      .values({
        ...registration,
        ...times,
        initial_access_token_id: null,
        registration_access_token: null,
        software_statement: null,
        created_at: now,
        ...whence,
      })
      .execute();
    await recordRegistered(change, clientId, { source: 'metadata_document', policy: policy.name });
  }
  return lockClient(tx, clientId);
}

/** What an admin has set stays; a document that says the same as before leaves the client as it is. */
async function bringUpToDate(
  change: UnitOfWork,
  clientId: string,
  metadata: ClientMetadata,
  sector: SectorDocument | undefined,
): Promise<void> {
  const client = await lockClient(change.tx, clientId);
  const patch = patchFor(client, metadata);
  if (Object.keys(patch).length > 0) await updateClient(change, client, patch, sector);
}

function isFresh({ registration }: ClientWithSecrets, now: Date): boolean {
  const until = registration?.documentFreshUntil;
  return until !== null && until !== undefined && now < until;
}

function outlasts({ registration }: ClientWithSecrets, now: Date): boolean {
  const fetchedAt = registration?.documentFetchedAt;
  return fetchedAt !== null && fetchedAt !== undefined && now < addSeconds(fetchedAt, OUTAGE_SECONDS);
}

function later(a: Date, b: Date): Date {
  return a > b ? a : b;
}

/** What exactly kept us from fetching is in the log, and not for whoever named the URL. */
function refusalOf(error: unknown): RegistrationRefused['refusal'] {
  if (error instanceof RegistrationRefused) return error.refusal;
  const detail = 'can’t be fetched';
  if (error instanceof EgressFailed) return { reason: 'metadata', member: 'the client metadata document', detail };
  if (error instanceof Refused && ['invalid', 'conflict'].includes(error.refusal.reason))
    return ofChange(error).refusal;
  throw error;
}
