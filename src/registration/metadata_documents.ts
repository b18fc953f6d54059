/**
 * Clients whose client_id is the URL of their metadata document. At the first request with such a URL, the server
 * fetches the document through `egress` and stores the client as a row like any other: grants and consents refer to it,
 * every node finds it, and an admin can revoke it. The server fetches the document again when it is no longer fresh: a
 * login waits for that, other requests do not.
 */
import type { UnitOfWork } from '../audit/unit_of_work.ts';
import type { Origin } from '../audit/events.ts';
import type { AuditTrail } from '../audit/trail.ts';
import { addSeconds, type Clock } from '../base/clock.ts';
import { Refused } from '../base/refusal.ts';
import { Unavailable } from '../base/unavailable.ts';
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
import { EgressFailed, isBusy, isTemporary, type EgressFailure } from '../egress/failure.ts';
import type { CachedResponse } from '../egress/response_cache.ts';
import { networkOf } from '../limits/rate_limit_key.ts';
import type { Logger } from '../log.ts';
import type { Registrations } from '../limits/registrations.ts';
import { enforceQuota, unusedClientOrigin } from './client_quota.ts';
import { isDocumentUrl, isPermittedHost, readDocument } from './metadata_document.ts';
import { lockPolicy } from './policy_store.ts';
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
  readonly log: Logger;
}

/** The client, or an error text for its developer. Both are `undefined` if no policy permits the URL. */
export interface Found {
  readonly client?: ClientWithSecrets;
  readonly objection?: string;
}

/** What a request wants of the client. */
export interface DocumentUse {
  /** The request begins a login, so the metadata must be recent; other requests get the last good copy. */
  readonly beginsLogin: boolean;
  /** A person sees the answer, so it says what is wrong; a program gets 503 for a passing failure and tries again. */
  readonly isPage: boolean;
}

/** What reading a document led to. */
interface Outcome {
  readonly client?: ClientWithSecrets;
  readonly refusal?: RegistrationRefused['refusal'];
  /** Set if the same request may succeed later. */
  readonly unavailable?: Unavailable;
}

/** A lower bound for max-age, because each refresh costs a fetch and an invalidation on all nodes. */
const FRESH_SECONDS_LEAST = 300;
/** While the document can't be fetched, logins can begin with the stored metadata for this long. */
const OUTAGE_SECONDS = 3_600;
/** A login that can begin with the stored metadata waits this long for newer: the rest of its request needs time too. */
const WAIT_MILLISECONDS = 1_500;

export class MetadataDocuments {
  readonly #settings: MetadataDocumentsSettings;
  readonly #running = new Map<string, Promise<Outcome>>();

  constructor(settings: MetadataDocumentsSettings) {
    this.#settings = settings;
  }

  /**
   * Finds the client of a URL. Fetches only URLs that a policy permits; an unknown URL counts against the sender's rate
   * limit. Throws `Unavailable` if the answer depends on a document that can't be read now.
   */
  async find(clientId: string, origin: Origin, { beginsLogin, isPage }: DocumentUse): Promise<Found> {
    const { directory, policies, clock } = this.#settings;
    const policy = policies.forDocuments;
    if (!policy || !isDocumentUrl(clientId) || !isPermittedHost(policy, clientId)) return {};
    const known = await directory.find(clientId);
    if (known && (known.revokedAt || isCurrent(known, clock()))) return { client: known };
    const outcome = this.#outcome(policy, clientId, known, origin);
    // a host that is away, that hangs or that answers with something else must not end what people allowed before
    if (known && !beginsLogin) return { client: known };
    const { client, refusal, unavailable } = await this.#waitFor(outcome, known);
    if (client) return { client };
    if (unavailable && (!refusal || !isPage)) throw unavailable;
    if (!refusal) throw new Error('A document was neither read nor refused.');
    if (refusal !== TOO_MANY) {
      const details = { error: 'invalid_client', reason: reasonOf(refusal) };
      const event = { event: 'registration.refused', outcome: 'refused', clientId, details } as const;
      await this.#settings.trail.refusals.record(origin, event);
    }
    return { objection: errorOf(refusal).description };
  }

  /** Waits for the document; for a short time only if the stored metadata would do. */
  async #waitFor(outcome: Promise<Outcome>, known: ClientWithSecrets | undefined): Promise<Outcome> {
    if (!known || !isUsableInOutage(known, this.#settings.clock())) return outcome;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<Outcome>((resolve) => {
      timer = setTimeout(() => resolve({ client: known }), WAIT_MILLISECONDS);
    });
    return Promise.race([outcome, late]).finally(() => clearTimeout(timer));
  }

  /**
   * One look at a document at a time, which requests share. It may outlive them; egress bounds it and logs its failures.
   */
  #outcome(
    policy: RegistrationPolicy,
    clientId: string,
    known: ClientWithSecrets | undefined,
    origin: Origin,
  ): Promise<Outcome> {
    const running = this.#running.get(clientId);
    if (running) return running;
    const fetching = this.#fetch(policy, clientId, known, origin).finally(() => this.#running.delete(clientId));
    this.#running.set(clientId, fetching);
    fetching.catch((error: unknown) => this.#settings.log.warn({ error, clientId }, 'metadata_document.not_stored'));
    return fetching;
  }

  async #fetch(
    policy: RegistrationPolicy,
    clientId: string,
    known: ClientWithSecrets | undefined,
    origin: Origin,
  ): Promise<Outcome> {
    const { limits, egress, clock } = this.#settings;
    const now = clock();
    if (!known && !(await limits.admitDocument(origin.address ?? '')).admitted) {
      return { refusal: TOO_MANY, unavailable: new Unavailable('Too many unknown documents were requested.') };
    }
    try {
      const answer = await egress.get(clientId, { asker: origin.address ? networkOf(origin.address) : undefined });
      const sector = await this.#readSector(policy, { clientId, answer, known, origin });
      return { client: await this.#keep({ policyName: policy.name, clientId, answer, sector }, { origin, now }) };
    } catch (error) {
      const isPassing = error instanceof EgressFailed || error instanceof Unavailable;
      if (isPassing && known && isUsableInOutage(known, clock())) return { client: known };
      if (error instanceof Unavailable) return { unavailable: error };
      const unavailable = new Unavailable('The metadata document can not be fetched now.', { cause: error });
      if (isBusy(error)) return { unavailable };
      const refusal = refusalOf(error);
      const mayPass = error instanceof EgressFailed && mayEnd(error.failure);
      return { refusal, ...(mayPass && { unavailable }) };
    }
  }

  /** The sector document for the client's sector as the document would set it. */
  async #readSector(
    policy: RegistrationPolicy,
    {
      clientId,
      answer,
      known,
      origin,
    }: {
      readonly clientId: string;
      readonly answer: CachedResponse;
      readonly known: ClientWithSecrets | undefined;
      readonly origin: Origin;
    },
  ): Promise<SectorDocument | undefined> {
    const metadata = readDocument(policy, clientId, answer);
    const after = known ? { ...metadata, ...withHeld(known, metadata) } : metadata;
    const fetchSector = (url: string): Promise<Buffer> => this.#settings.fetchDocument(url, origin.address);
    return readSector(after, fetchSector, known?.metadata);
  }

  /** Creates or updates the client; another node may do the same at the same time. */
  async #keep(fetched: Fetched, { origin, now }: Pick<UnitOfWork, 'origin' | 'now'>): Promise<ClientWithSecrets> {
    const { database, trail, changes } = this.#settings;
    const keep = (): Promise<ClientWithSecrets> =>
      transact(database, (tx) => storeDocument({ tx, trail, origin, now }, fetched));
    const client = await keep().catch((error: unknown) => {
      // the other node has created the client; update it
      if (error instanceof Refused && error.refusal.reason === 'conflict') return keep();
      throw error;
    });
    // if this node can't read the invalidation log now, it reads clients from the database until it can
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
  const known = (await readClient(tx, clientId)) && (await lockClient(tx, clientId));
  // an admin has pinned it since the fetch began
  if (known?.registration?.documentIsPinned) return known;
  const times = {
    document_fetched_at: answer.fetchedAt,
    document_fresh_until: later(answer.freshUntil, addSeconds(now, FRESH_SECONDS_LEAST)),
  };
  if (known) {
    await updateFromDocument(change, known, metadata, sector);
    await tx
      .updateTable('client_registrations')
      .set({ ...times, policy: policy.name })
      .where('client_id', '=', clientId)
      .execute();
    await recordChange(tx, { topic: 'client', key: clientId }, now);
  } else {
    const unusedOrigin = unusedClientOrigin(change.origin.address ?? '');
    await enforceQuota(change, policy, 'metadata_document', unusedOrigin);
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
        ...unusedOrigin,
      })
      .execute();
    await recordRegistered(change, clientId, { source: 'metadata_document', policy: policy.name });
  }
  return lockClient(tx, clientId);
}

/** Updates the client's metadata except what an admin has set; an unchanged document leaves the client unchanged. */
async function updateFromDocument(
  change: UnitOfWork,
  client: ClientWithSecrets,
  metadata: ClientMetadata,
  sector: SectorDocument | undefined,
): Promise<void> {
  const patch = patchFor(client, metadata);
  if (Object.keys(patch).length > 0) await updateClient(change, client, patch, sector);
}

/** Whether the stored metadata is used without a look at the document. */
function isCurrent({ registration }: ClientWithSecrets, now: Date): boolean {
  if (registration?.documentIsPinned) return true;
  const until = registration?.documentFreshUntil;
  return until !== null && until !== undefined && now < until;
}

function isUsableInOutage({ registration }: ClientWithSecrets, now: Date): boolean {
  const fetchedAt = registration?.documentFetchedAt;
  return fetchedAt !== null && fetchedAt !== undefined && now < addSeconds(fetchedAt, OUTAGE_SECONDS);
}

function later(a: Date, b: Date): Date {
  return a > b ? a : b;
}

/** Whether the owner of the document can end the failure without a change of the URL or of the document. */
function mayEnd(failure: EgressFailure): boolean {
  if (failure.reason === 'status_refused') return failure.status !== 404 && failure.status !== 410;
  return failure.reason === 'certificate_refused' || isTemporary(failure);
}

/** Not recorded: the sender can name any number of URLs. */
const TOO_MANY: RegistrationRefused['refusal'] = {
  reason: 'metadata',
  member: 'the client metadata document',
  detail: 'is one of too many new ones that were requested from your address; try again later',
};

/** Hides the reason why a fetch failed from the sender; the log has it. */
function refusalOf(error: unknown): RegistrationRefused['refusal'] {
  if (error instanceof RegistrationRefused) return error.refusal;
  const detail = 'can not be fetched';
  if (error instanceof EgressFailed) return { reason: 'metadata', member: 'the client metadata document', detail };
  if (error instanceof Refused && ['invalid', 'conflict'].includes(error.refusal.reason))
    return ofChange(error).refusal;
  throw error;
}
