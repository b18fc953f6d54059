/** Puts clients with hashed secrets straight into a Gatehouse's database, many at a time. */
import { AuditKeys } from '../src/audit/audit_keys.ts';
import { AuditTrail } from '../src/audit/trail.ts';
import { SYSTEM } from '../src/audit/events.ts';
import { ClientMetadata } from '../src/clients/metadata/client_metadata.ts';
import { createClient, lockClient } from '../src/clients/registration.ts';
import { addSecret } from '../src/clients/secrets.ts';
import { makeSecret } from '../src/clients/server_made_secret.ts';
import { createDatabase, createPool } from '../src/db/connection.ts';
import { transact } from '../src/db/transaction.ts';
import { MasterKey } from '../src/vault/master_key.ts';
import { Vault } from '../src/vault/vault.ts';

export interface BenchClient {
  readonly id: string;
  readonly secret: string;
}

export async function registerClients(
  connectionString: string,
  masterKey: string,
  count: number,
): Promise<BenchClient[]> {
  const database = createDatabase(createPool({ connectionString, maxConnections: 4, onIdleError: () => {} }));
  const vault = new Vault(database, [new MasterKey(Buffer.from(masterKey, 'base64'))]);
  const keys = await AuditKeys.open(database, vault, new Date());
  const trail = new AuditTrail({ database, keys, log: { info: () => {} }, clock: () => new Date() });
  const pepper = await vault.current('pepper', new Date());
  const metadata = ClientMetadata.parse({
    grant_types: ['client_credentials'],
    resources: [{ resource: 'https://api.example.com', scopes: ['notes:read'] }],
  });
  const clients: BenchClient[] = [];
  while (clients.length < count) {
    clients.push(
      ...(await transact(database, async (tx) => {
        const change = { tx, trail, origin: SYSTEM, now: new Date() };
        const batch: BenchClient[] = [];
        for (let i = 0; i < Math.min(100, count - clients.length); i++) {
          const { clientId } = await createClient(change, metadata);
          const value = makeSecret();
          await addSecret(change, await lockClient(tx, clientId), { check: { pepper, value }, overlapSeconds: 0 });
          batch.push({ id: clientId, secret: value.reveal() });
        }
        return batch;
      })),
    );
  }
  await database.destroy();
  return clients;
}
