/** The library's view of our clients: found in our directory, built once per version of a client, checked by our verifier. */
import { randomBytes } from 'node:crypto';
import { errors, Provider, type AllClientMetadata, type Client } from 'oidc-provider';
import type { ClientDirectory } from '../clients/client_directory.ts';
import type { ClientWithSecrets } from '../clients/client.ts';
import { usesSecret } from '../clients/metadata/authentication.ts';
import { DEVICE_CODE } from '../clients/metadata/flows.ts';
import type { SecretUses } from '../clients/secret_uses.ts';
import type { SecretVerifier } from '../clients/secret_verifier.ts';
import { signingAlgsOf } from '../clients/signing_algs.ts';
import { Unavailable } from '../db/connection.ts';
import type { Clock } from '../base/clock.ts';
import { readKeysThrough, type ClientKeysSettings } from './client_keys.ts';
import { demandProof } from './dpop.ts';

export interface RegisteredClientsSettings {
  readonly directory: ClientDirectory;
  readonly verifier: SecretVerifier;
  readonly uses: SecretUses;
  readonly clock: Clock;
  readonly keys: ClientKeysSettings;
}

/** What a provider was built with; one that knows more is built when there is more. */
export interface ProviderKnowledge {
  readonly signingAlgs: ReadonlySet<unknown>;
  readonly detailsTypes: readonly string[];
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
export function useRegisteredClients(
  provider: Provider,
  settings: RegisteredClientsSettings,
  knows: ProviderKnowledge,
): void {
  const { directory, verifier, uses, clock, keys } = settings;
  const RegisteredClient = provider.Client as unknown as ClientClass;
  // an instance lives as long as the record it was built from: a changed client has a new record
  const instances = new WeakMap<ClientWithSecrets, Client>();

  RegisteredClient.find = async (id) => {
    const record = typeof id === 'string' && id !== '' ? await directory.find(id) : undefined;
    if (!record || record.revokedAt) return undefined;
    const known = instances.get(record);
    if (known) return known;
    refuseUnknownAlgs(record, knows);
    const client = new RegisteredClient(toLibraryMetadata(record, knows));
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

/** Keys that were made with the client are in the same news, which this node hears in a moment. */
function refuseUnknownAlgs({ metadata }: ClientWithSecrets, { signingAlgs }: ProviderKnowledge): void {
  if (signingAlgsOf(metadata).every((alg) => signingAlgs.has(alg))) return;
  throw new Unavailable('This node has not heard yet of a key that the client wants its answers signed with.');
}

function toLibraryMetadata(
  { clientId, metadata, createdAt }: ClientWithSecrets,
  { detailsTypes }: ProviderKnowledge,
): AllClientMetadata {
  const { resources: _, introspects: __, secret_rotation_days: ___, ...spoken } = metadata;
  return {
    ...(spoken as AllClientMetadata),
    // one that this node has not heard of yet would make the whole client invalid
    authorization_details_types: spoken.authorization_details_types.filter((type) => detailsTypes.includes(type)),
    client_id: clientId,
    client_id_issued_at: Math.floor(createdAt.getTime() / 1000),
    ...(usesSecret(metadata) && { client_secret: PLACEHOLDER }),
  };
}
