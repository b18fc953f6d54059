/** The library's view of our clients: found in our directory, built once per version of a client, checked by our verifier. */
import { randomBytes } from 'node:crypto';
import type { AllClientMetadata, Client, Provider } from 'oidc-provider';
import type { ClientDirectory } from '../clients/client_directory.ts';
import type { ClientWithSecrets } from '../clients/client.ts';
import { usesSecret } from '../clients/metadata.ts';
import type { SecretUses } from '../clients/secret_uses.ts';
import type { SecretVerifier } from '../clients/secret_verifier.ts';
import type { Clock } from '../base/clock.ts';

export interface RegisteredClientsSettings {
  readonly directory: ClientDirectory;
  readonly verifier: SecretVerifier;
  readonly uses: SecretUses;
  readonly clock: Clock;
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
  prototype: { compareClientSecret(this: Client, presented: string): Promise<boolean> };
}

/** Makes the provider find its clients in our directory. A revoked client is not found. */
export function useRegisteredClients(provider: Provider, settings: RegisteredClientsSettings): void {
  const { directory, verifier, uses, clock } = settings;
  const RegisteredClient = provider.Client as unknown as ClientClass;
  // an instance lives as long as the record it was built from: a changed client has a new record
  const instances = new WeakMap<ClientWithSecrets, Client>();

  RegisteredClient.find = async (id) => {
    const record = typeof id === 'string' && id !== '' ? await directory.find(id) : undefined;
    if (!record || record.revokedAt) return undefined;
    const known = instances.get(record);
    if (known) return known;
    const client = new RegisteredClient(toLibraryMetadata(record));
    instances.set(record, client);
    records.set(client, record);
    return client;
  };

  RegisteredClient.prototype.compareClientSecret = async function (presented) {
    const now = clock();
    const secret = await verifier.verify(recordOf(this), presented, now);
    if (secret) uses.note(secret.secretId, now);
    return secret !== undefined;
  };
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
