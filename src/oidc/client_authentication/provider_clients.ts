/**
 * Connects the library's clients to the client directory: it finds them there, builds one library client per version of
 * a record, and verifies their secrets.
 */
import { randomBytes } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { errors, Provider, type AllClientMetadata, type Client } from 'oidc-provider';
import { SYSTEM, type Origin } from '../../audit/events.ts';
import type { ClientDirectory } from '../../clients/client_directory.ts';
import type { ClientWithSecrets } from '../../clients/client.ts';
import { usesSecret } from '../../clients/metadata/client_authentication.ts';
import { CIBA, DEVICE_CODE } from '../../clients/metadata/flows.ts';
import { needsCertificate } from '../../clients/metadata/mutual_tls.ts';
import type { SecretUses } from '../../clients/secret_last_used.ts';
import { NotCompared, type SecretVerifier } from '../../clients/secret_verifier.ts';
import { demandNotMet, type ClientDemands } from '../../clients/server_requirements.ts';
import { outdatedAlgsOf, signingAlgsOf } from '../../clients/response_signing_algs.ts';
import { toErrorDescription } from '../../base/error_description.ts';
import type { Clock } from '../../base/clock.ts';
import { Unavailable } from '../../base/unavailable.ts';
import { refusalHeaders } from '../../http/admission.ts';
import type { ClientCertificates } from '../../http/client_certificates.ts';
import { requestOf } from '../../http/request_context.ts';
import type { RateLimiter } from '../../limits/rate_limiter.ts';
import { guardKeys, type ClientKeysSettings } from './client_keys.ts';
import { refuseRateLimited, TooManyRequests } from './client_rate_limit.ts';
import { demandProof } from '../sender_constraint/dpop.ts';
import { demandCertificate, presentedDigest } from './mutual_tls.ts';
import { anonymousOrigin } from '../request/request_events.ts';
import { internalsOf } from '../provider/library_types.ts';

/**
 * Clients whose client_id is the URL of a metadata document. `objection` is an error text for the client's developer.
 */
export interface DocumentClients {
  find(
    clientId: string,
    origin: Origin,
    use: { readonly beginsLogin: boolean; readonly isPage: boolean },
  ): Promise<{ readonly client?: ClientWithSecrets; readonly objection?: string }>;
}

export interface ProviderClientsSettings {
  readonly directory: ClientDirectory;
  readonly documents: DocumentClients;
  readonly verifier: SecretVerifier;
  readonly uses: SecretUses;
  readonly traffic: RateLimiter;
  readonly clock: Clock;
  readonly keys: Omit<ClientKeysSettings, 'presented' | 'vetted' | 'registeredAt'>;
}

/** A library client takes about 10 KB, so only the most recently used ones are kept. */
const INSTANCES_AT_MOST = 2_000;

/** What a provider was built with. A change of it causes a new provider to be built. */
export interface ProviderKnowledge {
  readonly signingAlgs: ReadonlySet<unknown>;
  readonly detailsTypes: readonly string[];
  /** `undefined` if this server receives no certificates. */
  readonly certificates: ClientCertificates | undefined;
  readonly demands: ClientDemands;
}

/** The library requires a secret for every confidential client. This random value is never compared with anything. */
const PLACEHOLDER = randomBytes(32).toString('hex');
/** The library requires this endpoint too, with https even on loopback, but never calls it (ping_delivery.ts does). */
const UNUSED_ENDPOINT = 'https://notified.invalid/';

const records = new WeakMap<Client, ClientWithSecrets>();

/** The directory's record of a library client. Throws if the client did not come from the directory. */
export function recordOf(client: Client): ClientWithSecrets {
  const record = records.get(client);
  if (!record) throw new Error(`${client.clientId} did not come from the client directory.`);
  return record;
}

/** Makes the provider find its clients in the directory. Revoked clients are not found. */
export function useProviderClients(
  provider: Provider,
  settings: ProviderClientsSettings,
  knows: ProviderKnowledge,
): void {
  const { verifier, uses, traffic, clock, keys } = settings;
  const RegisteredClient = internalsOf(provider).Client;
  // the key is the client's record: a change of the client creates a new record
  const instances = new LRUCache<ClientWithSecrets, Client>({ max: INSTANCES_AT_MOST });

  RegisteredClient.find = async (id) => {
    const record = typeof id === 'string' && id !== '' ? await findRecord(settings, id) : undefined;
    if (!record || record.revokedAt) return undefined;
    refuseRateLimited(traffic, Provider.ctx, id);
    refuseUnmetDemand(record, knows.demands);
    const known = instances.get(record);
    if (known) return known;
    // without certificates, the server would treat the client as if it required less
    if (!knows.certificates && needsCertificate(record.metadata)) {
      throw new errors.InvalidClientAuth('the client requires mutual TLS, which this server does not support');
    }
    refuseUnknownAlgs(record, knows);
    const client = new RegisteredClient(toLibraryMetadata(record, knows));
    // set here because the library has rules of its own about sectors; clients/ has validated the sector
    Object.assign(client, { subjectType: record.metadata.subject_type ?? 'public' });
    for (const [member, alg] of outdatedAlgsOf(record.metadata)) Object.assign(client, { [camelCase(member)]: alg });
    if (knows.demands.senderConstrainedTokens && !record.metadata.tls_client_certificate_bound_access_tokens) {
      Object.assign(client, { dpopBoundAccessTokens: true });
    }
    const vetted = record.registration === null;
    const presented = (): string | undefined => presentedDigest(knows.certificates);
    guardKeys({ ...keys, vetted, registeredAt: record.createdAt, presented }, client);
    instances.set(record, client);
    records.set(client, record);
    return client;
  };

  RegisteredClient.prototype.compareClientSecret = async function (presented) {
    refuseOtherMethod(this);
    const now = clock();
    const ctx = Provider.ctx;
    const address = ctx ? requestOf(ctx).address : '';
    const secret = await verifier.verify(recordOf(this), { secret: presented, address }, now).catch(asTooManyRequests);
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

/** The library's name for a metadata member. */
function camelCase(member: string): string {
  return member.replaceAll(/_(\w)/g, (_, letter: string) => letter.toUpperCase());
}

function asTooManyRequests(error: unknown): never {
  if (!(error instanceof NotCompared)) throw error;
  const { retryAfterSeconds } = error;
  Provider.ctx?.set(refusalHeaders({ status: 429, retryAfterSeconds }));
  throw new TooManyRequests({ status: 429, retryAfterSeconds });
}

/** Finds a URL among the metadata documents, and any other id in the directory. */
function findRecord(
  { directory, documents }: ProviderClientsSettings,
  id: string,
): Promise<ClientWithSecrets | undefined> {
  return id.startsWith('https:') ? findDocumentClient(documents, id) : directory.find(id);
}

/** Endpoints where a client asks for a login that no person has allowed yet. */
const BEGIN_LOGINS: ReadonlySet<string> = new Set([
  'authorization',
  'pushed_authorization_request',
  'device_authorization',
  'backchannel_authentication',
]);

async function findDocumentClient(documents: DocumentClients, id: string): Promise<ClientWithSecrets | undefined> {
  const { ctx } = Provider;
  const route = ctx?.oidc.route ?? '';
  const use = { beginsLogin: BEGIN_LOGINS.has(route), isPage: route === 'authorization' };
  const { client, objection } = await documents.find(id, ctx ? anonymousOrigin(ctx) : SYSTEM, use);
  if (objection !== undefined) throw new errors.InvalidClient(toErrorDescription(objection));
  return client;
}

/**
 * The library accepts Basic for client_secret_post and the reverse; a client must use its registered method (RFC 7591,
 * 2).
 */
function refuseOtherMethod({ tokenEndpointAuthMethod }: Client): void {
  const presentedIn = Provider.ctx?.headers.authorization === undefined ? 'client_secret_post' : 'client_secret_basic';
  if (presentedIn === tokenEndpointAuthMethod) return;
  throw new errors.InvalidClientAuth(
    `the secret was sent as ${presentedIn}; use the registered token_endpoint_auth_method`,
  );
}

/** Endpoints that belong to one grant type. */
const GRANT_TYPE_OF: Readonly<Record<string, string>> = {
  device_authorization: DEVICE_CODE,
  backchannel_authentication: CIBA,
};

/** Throws `unauthorized_client` (RFC 6749, 5.2), where the library would answer `invalid_request`. */
function refuseGrantType(grantType: string): void {
  const { route = '', params } = Provider.ctx?.oidc ?? {};
  const asked = route === 'token' ? params?.['grant_type'] : GRANT_TYPE_OF[route];
  if (asked !== grantType) return;
  throw new errors.UnauthorizedClient('the client is not registered for this grant type');
}

/** Refuses a client that was registered before the server had the requirement, or by a metadata document. */
function refuseUnmetDemand({ metadata }: ClientWithSecrets, demands: ClientDemands): void {
  const unmet = demandNotMet(metadata, demands);
  if (unmet) throw new errors.InvalidClient(`the client's ${unmet.member} ${unmet.detail}`);
}

/**
 * Answers 503 if this node has not loaded a key for the client's signing algorithm yet. Such a key is created with the
 * client and reaches this node within a moment.
 */
function refuseUnknownAlgs({ metadata }: ClientWithSecrets, { signingAlgs }: ProviderKnowledge): void {
  if (signingAlgsOf(metadata).every((alg) => signingAlgs.has(alg))) return;
  throw new Unavailable('This node has not loaded the key for the signing algorithm of this client yet.');
}

/**
 * Metadata members that the library doesn't get, because this server implements them. For example, the library would
 * refuse a scope that the server leaves out (resource_policy.ts), and has rules of its own about sectors.
 */
const HANDLED_HERE: ReadonlySet<string> = new Set([
  'resources',
  'introspects',
  'secret_rotation_days',
  'scope',
  'profile',
  'assertion_audience',
  'response_modes',
  'allowed_cors_origins',
  'id_token_claims',
  'userinfo_audience',
  'required_acr',
  'subject_type',
  'sector_identifier_uri',
] satisfies (keyof ClientWithSecrets['metadata'])[]);

function toLibraryMetadata(
  { clientId, metadata, createdAt }: ClientWithSecrets,
  { detailsTypes }: ProviderKnowledge,
): AllClientMetadata {
  // the library would refuse an algorithm that no longer signs for clients
  const outdated = new Set<string>(outdatedAlgsOf(metadata).map(([member]) => member));
  const passed = Object.entries(metadata).filter(([member]) => !HANDLED_HERE.has(member) && !outdated.has(member));
  return {
    ...(Object.fromEntries(passed) as AllClientMetadata),
    // a type that this node has not loaded yet would make the library refuse the whole client
    authorization_details_types: metadata.authorization_details_types.filter((type) => detailsTypes.includes(type)),
    client_id: clientId,
    client_id_issued_at: Math.floor(createdAt.getTime() / 1000),
    ...(usesSecret(metadata) && { client_secret: PLACEHOLDER }),
    ...(metadata.backchannel_client_notification_endpoint && {
      backchannel_client_notification_endpoint: UNUSED_ENDPOINT,
    }),
  };
}
