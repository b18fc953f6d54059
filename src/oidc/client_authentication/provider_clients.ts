/** The library's view of our clients: found in our directory, built once per version of a client, checked by our verifier. */
import { randomBytes } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { errors, Provider, type AllClientMetadata, type Client } from 'oidc-provider';
import { SYSTEM, type Origin } from '../../audit/events.ts';
import type { ClientDirectory } from '../../clients/client_directory.ts';
import type { ClientWithSecrets } from '../../clients/client.ts';
import { usesSecret } from '../../clients/metadata/client_authentication.ts';
import { CIBA, DEVICE_CODE } from '../../clients/metadata/flows.ts';
import { needsCertificate } from '../../clients/metadata/mutual_tls.ts';
import type { SecretUses } from '../../clients/secret_uses.ts';
import { NotCompared, type SecretVerifier } from '../../clients/secret_verifier.ts';
import { demandNotMet, type ClientDemands } from '../../clients/server_demands.ts';
import { signingAlgsOf } from '../../clients/response_signing_algs.ts';
import type { Clock } from '../../base/clock.ts';
import { Unavailable } from '../../base/unavailable.ts';
import { refusalHeaders } from '../../http/admission.ts';
import type { ClientCertificates } from '../../http/client_certificates.ts';
import { requestOf } from '../../http/request_context.ts';
import type { RateLimiter } from '../../limits/rate_limiter.ts';
import { guardKeys, type ClientKeysSettings } from './client_keys.ts';
import { refuseSpent, TooManyRequests } from './client_rate_limit.ts';
import { demandProof } from './dpop.ts';
import { demandCertificate, presentedDigest } from './mutual_tls.ts';
import { anonymously } from '../request/request_events.ts';

/** Clients whose client_id is a URL; what is objected to one is for its developer to read. */
export interface DocumentClients {
  find(clientId: string, origin: Origin): Promise<{ readonly client?: ClientWithSecrets; readonly objection?: string }>;
}

export interface ProviderClientsSettings {
  readonly directory: ClientDirectory;
  readonly documents: DocumentClients;
  readonly verifier: SecretVerifier;
  readonly uses: SecretUses;
  readonly traffic: RateLimiter;
  readonly clock: Clock;
  readonly keys: Omit<ClientKeysSettings, 'presented' | 'vetted'>;
}

/** The library makes ten kilobytes of a client of one: those that are asked for often are kept. */
const INSTANCES_AT_MOST = 2_000;

/** What a provider was built with; one that knows more is built when there is more. */
export interface ProviderKnowledge {
  readonly signingAlgs: ReadonlySet<unknown>;
  readonly detailsTypes: readonly string[];
  /** `undefined` where this server sees none. */
  readonly certificates: ClientCertificates | undefined;
  readonly demands: ClientDemands;
}

/** The library wants every confidential client to have a secret; no one knows this one, and it is compared with nothing. */
const PLACEHOLDER = randomBytes(32).toString('hex');
/** The library wants one of these too, with https even on loopback; it never goes there (ping_delivery.ts does). */
const NOTIFIED_BY_US = 'https://notified.invalid/';

const records = new WeakMap<Client, ClientWithSecrets>();

/** Our record of a client that the library holds. */
export function recordOf(client: Client): ClientWithSecrets {
  const record = records.get(client);
  if (!record) throw new Error(`${client.clientId} did not come from the client directory.`);
  return record;
}

/** What types of the library leave out: it calls both, and documents neither as replaceable. */
interface ClientClass {
  new (metadata: AllClientMetadata): Client;
  find(id: string): Promise<Client | undefined>;
  prototype: {
    compareClientSecret(this: Client, presented: string): Promise<boolean>;
    grantTypeAllowed(this: Client, grantType: string): boolean;
  };
}

/** Makes the provider find its clients in our directory. A revoked client is not found. */
export function useProviderClients(
  provider: Provider,
  settings: ProviderClientsSettings,
  knows: ProviderKnowledge,
): void {
  const { verifier, uses, traffic, clock, keys } = settings;
  const RegisteredClient = provider.Client as unknown as ClientClass;
  // by the record that it was built from: a changed client has a new one
  const instances = new LRUCache<ClientWithSecrets, Client>({ max: INSTANCES_AT_MOST });

  RegisteredClient.find = async (id) => {
    const record = typeof id === 'string' && id !== '' ? await findRecord(settings, id) : undefined;
    if (!record || record.revokedAt) return undefined;
    refuseSpent(traffic, Provider.ctx, id);
    refuseUnmetDemand(record, knows.demands);
    const known = instances.get(record);
    if (known) return known;
    // without certificates it would be served as if it had asked for less
    if (!knows.certificates && needsCertificate(record.metadata)) {
      throw new errors.InvalidClientAuth('the client needs mutual TLS, which this server is not set up for');
    }
    refuseUnknownAlgs(record, knows);
    const client = new RegisteredClient(toLibraryMetadata(record, knows));
    // set here, because of a client's sector the library has rules of its own; which sector it is, clients/ has settled
    Object.assign(client, { subjectType: record.metadata.subject_type ?? 'public' });
    if (knows.demands.senderConstrainedTokens && !record.metadata.tls_client_certificate_bound_access_tokens) {
      Object.assign(client, { dpopBoundAccessTokens: true });
    }
    const vetted = record.registration === null;
    guardKeys({ ...keys, vetted, presented: () => presentedDigest(knows.certificates) }, client);
    instances.set(record, client);
    records.set(client, record);
    return client;
  };

  RegisteredClient.prototype.compareClientSecret = async function (presented) {
    refuseOtherMethod(this);
    const now = clock();
    const ctx = Provider.ctx;
    const address = ctx ? requestOf(ctx).address : '';
    const secret = await verifier.verify(recordOf(this), { secret: presented, address }, now).catch(tooMany);
    if (secret) uses.note(secret.secretId, now);
    return secret !== undefined;
  };

  const { grantTypeAllowed } = RegisteredClient.prototype;
  RegisteredClient.prototype.grantTypeAllowed = function (grantType) {
    const allowed = grantTypeAllowed.call(this, grantType);
    if (!allowed) refuseGrantType(grantType);
    demandProof(this);
    demandCertificate(knows.certificates, this);
    return allowed;
  };
}

function tooMany(error: unknown): never {
  if (!(error instanceof NotCompared)) throw error;
  const { retryAfterSeconds } = error;
  Provider.ctx?.set(refusalHeaders({ status: 429, retryAfterSeconds }));
  throw new TooManyRequests({ status: 429, retryAfterSeconds });
}

/** A URL is looked up where documents are; every other name is one that this server gave out. */
function findRecord(
  { directory, documents }: ProviderClientsSettings,
  id: string,
): Promise<ClientWithSecrets | undefined> {
  return id.startsWith('https:') ? findDocumentClient(documents, id) : directory.find(id);
}

async function findDocumentClient(documents: DocumentClients, id: string): Promise<ClientWithSecrets | undefined> {
  const { ctx } = Provider;
  const { client, objection } = await documents.find(id, ctx ? anonymously(ctx) : SYSTEM);
  if (objection !== undefined) throw new errors.InvalidClient(objection.replaceAll(/[^\x20-\x7e]/g, ''));
  return client;
}

/** The library takes Basic and body for one another; a client authenticates as it was registered (RFC 7591, 2). */
function refuseOtherMethod({ tokenEndpointAuthMethod }: Client): void {
  const presentedIn = Provider.ctx?.headers.authorization === undefined ? 'client_secret_post' : 'client_secret_basic';
  if (presentedIn === tokenEndpointAuthMethod) return;
  throw new errors.InvalidClientAuth(`the secret came as ${presentedIn}, the client is registered for another method`);
}

/** The endpoints that are for one grant type alone. */
const GRANT_TYPE_OF: Readonly<Record<string, string>> = {
  device_authorization: DEVICE_CODE,
  backchannel_authentication: CIBA,
};

/** Where the library would answer `invalid_request`, RFC 6749 (5.2) has a name for it. */
function refuseGrantType(grantType: string): void {
  const { route = '', params } = Provider.ctx?.oidc ?? {};
  const asked = route === 'token' ? params?.['grant_type'] : GRANT_TYPE_OF[route];
  if (asked !== grantType) return;
  throw new errors.UnauthorizedClient('the client is not registered for this grant type');
}

/** Registered before the server demanded it, or by a metadata document. */
function refuseUnmetDemand({ metadata }: ClientWithSecrets, demands: ClientDemands): void {
  const unmet = demandNotMet(metadata, demands);
  if (unmet) throw new errors.InvalidClient(`the client's ${unmet.member} ${unmet.detail}`);
}

/** Keys that were made with the client are in the same news, which this node hears in a moment. */
function refuseUnknownAlgs({ metadata }: ClientWithSecrets, { signingAlgs }: ProviderKnowledge): void {
  if (signingAlgsOf(metadata).every((alg) => signingAlgs.has(alg))) return;
  throw new Unavailable('This node has not heard yet of a key that the client wants its answers signed with.');
}

/**
 * Members that the library is told nothing of: what they mean is settled elsewhere in this room. It would refuse a scope
 * that we leave out instead (resource_policy.ts), and has rules of its own about sectors.
 */
const OURS: ReadonlySet<string> = new Set([
  'resources',
  'introspects',
  'secret_rotation_days',
  'scope',
  'profile',
  'response_modes',
  'subject_type',
  'sector_identifier_uri',
] satisfies (keyof ClientWithSecrets['metadata'])[]);

function toLibraryMetadata(
  { clientId, metadata, createdAt }: ClientWithSecrets,
  { detailsTypes }: ProviderKnowledge,
): AllClientMetadata {
  const spoken = Object.entries(metadata).filter(([member]) => !OURS.has(member));
  return {
    ...(Object.fromEntries(spoken) as AllClientMetadata),
    // one that this node has not heard of yet would make the whole client invalid
    authorization_details_types: metadata.authorization_details_types.filter((type) => detailsTypes.includes(type)),
    client_id: clientId,
    client_id_issued_at: Math.floor(createdAt.getTime() / 1000),
    ...(usesSecret(metadata) && { client_secret: PLACEHOLDER }),
    ...(metadata.backchannel_client_notification_endpoint && {
      backchannel_client_notification_endpoint: NOTIFIED_BY_US,
    }),
  };
}
