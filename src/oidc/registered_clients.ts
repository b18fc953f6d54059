/** The library's view of our clients: found in our directory, built once per version of a client, checked by our verifier. */
import { randomBytes } from 'node:crypto';
import { errors, Provider, type AllClientMetadata, type Client } from 'oidc-provider';
import { SYSTEM, type Origin } from '../audit/events.ts';
import type { ClientDirectory } from '../clients/client_directory.ts';
import type { ClientWithSecrets } from '../clients/client.ts';
import { usesSecret } from '../clients/metadata/authentication.ts';
import { DEVICE_CODE } from '../clients/metadata/flows.ts';
import type { SecretUses } from '../clients/secret_uses.ts';
import type { SecretVerifier } from '../clients/secret_verifier.ts';
import type { Clock } from '../base/clock.ts';
import { readKeysThrough, type ClientKeysSettings } from './client_keys.ts';
import { demandProof } from './dpop.ts';
import { anonymously } from './notes.ts';

/** Clients whose client_id is a URL; what is objected to one is for its developer to read. */
export interface DocumentClients {
  find(clientId: string, origin: Origin): Promise<{ readonly client?: ClientWithSecrets; readonly objection?: string }>;
}

export interface RegisteredClientsSettings {
  readonly directory: ClientDirectory;
  readonly documents: DocumentClients;
  readonly verifier: SecretVerifier;
  readonly uses: SecretUses;
  readonly clock: Clock;
  readonly keys: ClientKeysSettings;
}

/** The library wants every confidential client to have a secret; no one knows this one, and it is compared with nothing. */
const PLACEHOLDER = randomBytes(32).toString('hex');

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
export function useRegisteredClients(provider: Provider, settings: RegisteredClientsSettings): void {
  const { verifier, uses, clock, keys } = settings;
  const RegisteredClient = provider.Client as unknown as ClientClass;
  // an instance lives as long as the record it was built from: a changed client has a new record
  const instances = new WeakMap<ClientWithSecrets, Client>();

  RegisteredClient.find = async (id) => {
    const record = typeof id === 'string' && id !== '' ? await findRecord(settings, id) : undefined;
    if (!record || record.revokedAt) return undefined;
    const known = instances.get(record);
    if (known) return known;
    const client = new RegisteredClient(toLibraryMetadata(record));
    readKeysThrough(keys, client);
    instances.set(record, client);
    records.set(client, record);
    return client;
  };

  RegisteredClient.prototype.compareClientSecret = async function (presented) {
    refuseOtherMethod(this);
    const now = clock();
    const secret = await verifier.verify(recordOf(this), presented, now);
    if (secret) uses.note(secret.secretId, now);
    return secret !== undefined;
  };

  const { grantTypeAllowed } = RegisteredClient.prototype;
  RegisteredClient.prototype.grantTypeAllowed = function (grantType) {
    const allowed = grantTypeAllowed.call(this, grantType);
    if (!allowed) refuseGrantType(grantType);
    demandProof(this);
    return allowed;
  };
}

/** A URL is looked up where documents are; every other name is one that this server gave out. */
function findRecord(
  { directory, documents }: RegisteredClientsSettings,
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

/** Where the library would answer `invalid_request`, RFC 6749 (5.2) has a name for it. */
function refuseGrantType(grantType: string): void {
  const oidc = Provider.ctx?.oidc;
  const asked = oidc?.route === 'device_authorization' ? DEVICE_CODE : oidc?.params?.['grant_type'];
  if ((oidc?.route !== 'token' && oidc?.route !== 'device_authorization') || asked !== grantType) return;
  throw new errors.UnauthorizedClient('the client is not registered for this grant type');
}

function toLibraryMetadata({ clientId, metadata, createdAt }: ClientWithSecrets): AllClientMetadata {
  const { resources: _, introspects: __, secret_rotation_days: ___, ...spoken } = metadata;
  return {
    ...(spoken as AllClientMetadata),
    client_id: clientId,
    client_id_issued_at: Math.floor(createdAt.getTime() / 1000),
    ...(usesSecret(metadata) && { client_secret: PLACEHOLDER }),
  };
}
