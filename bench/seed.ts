/** Inserts the data of the benchmark into Gatehouse's database: an API, clients with hashed secrets, accounts. */
import { sql } from 'kysely';
import { createAccount } from '../src/accounts/account.ts';
import type { UnitOfWork } from '../src/audit/unit_of_work.ts';
import { SYSTEM } from '../src/audit/events.ts';
import { AuditKeys } from '../src/audit/audit_keys.ts';
import { AuditTrail } from '../src/audit/trail.ts';
import { Argon2id } from '../src/password_hashing/argon2id.ts';
import { ClientMetadata } from '../src/clients/metadata/client_metadata.ts';
import { createClient, lockClient } from '../src/clients/client_store.ts';
import { addSecret } from '../src/clients/secrets.ts';
import { makeSecret } from '../src/clients/generated_secret.ts';
import { createDatabase, createPool, type Database } from '../src/db/connection.ts';
import { transact } from '../src/db/transaction.ts';
import { MasterKey } from '../src/vault/master_key.ts';
import { Vault, type DataKey } from '../src/vault/vault.ts';

export interface BenchClient {
  readonly id: string;
  readonly secret: string;
}

export const API = 'https://api.example.com';
export const REDIRECT_URI = 'https://app.example.com/callback';
const BATCH = 100;

export class Seed {
  readonly #database: Database;
  readonly #trail: AuditTrail;
  readonly #pepper: DataKey;

  private constructor(database: Database, trail: AuditTrail, pepper: DataKey) {
    this.#database = database;
    this.#trail = trail;
    this.#pepper = pepper;
  }

  static async in(connectionString: string, masterKey: string): Promise<Seed> {
    // the insertion of a million clients takes longer than the usual limit
    const statementTimeoutMilliseconds = 0;
    const database = createDatabase(
      createPool({ connectionString, maxConnections: 4, onIdleError: () => {}, statementTimeoutMilliseconds }),
    );
    const vault = new Vault(database, [new MasterKey(Buffer.from(masterKey, 'base64'))]);
    const keys = await AuditKeys.open(database, vault, new Date());
    const trail = new AuditTrail({ database, keys, log: { info: () => {} }, clock: () => new Date() });
    return new Seed(database, trail, await vault.current('pepper', new Date()));
  }

  async clients(count: number, metadata: Readonly<Record<string, unknown>>): Promise<BenchClient[]> {
    const parsed = ClientMetadata.parse(metadata);
    const clients: BenchClient[] = [];
    while (clients.length < count) {
      const size = Math.min(BATCH, count - clients.length);
      clients.push(
        ...(await this.#change(async (change) => {
          const batch: BenchClient[] = [];
          for (let i = 0; i < size; i++) batch.push(await this.#client(change, parsed));
          return batch;
        })),
      );
    }
    return clients;
  }

  /** Inserts unused clients with their rows, so that tables and indexes are large. */
  async crowd(count: number): Promise<void> {
    await sql`insert into clients (client_id, metadata, created_at, updated_at)
      select 'crowd_' || n, metadata, created_at, updated_at from generate_series(1, ${count}::int) n,
      (select * from clients where client_id like 'client\\_%' limit 1) one`.execute(this.#database);
    await sql`insert into client_resources (client_id, resource, scopes)
      select client_id, ${API}, '{notes:read}' from clients where client_id like 'crowd\\_%'`.execute(this.#database);
    await sql`insert into client_secrets (secret_id, client_id, pepper_id, digest, hint, created_at)
      select 'crowd_' || client_id, client_id, pepper_id, sha256(client_id::bytea), 'crowd', clients.created_at
      from clients, (select pepper_id from client_secrets where pepper_id is not null limit 1) one
      where client_id like 'crowd\\_%'`.execute(this.#database);
    await sql`analyze`.execute(this.#database);
  }

  async account(email: string, password: string): Promise<void> {
    const password_hash = await new Argon2id(1).hash(password);
    await this.#change((change) => createAccount(change, { email, email_verified: true, name: null, password_hash }));
  }

  stop(): Promise<void> {
    return this.#database.destroy();
  }

  #change<T>(work: (change: UnitOfWork) => Promise<T>): Promise<T> {
    const [trail, now] = [this.#trail, new Date()];
    return transact(this.#database, (tx) => work({ tx, trail, origin: SYSTEM, now }));
  }

  async #client(change: UnitOfWork, metadata: ClientMetadata): Promise<BenchClient> {
    const { clientId } = await createClient(change, metadata);
    const value = makeSecret();
    const check = { pepper: this.#pepper, value };
    await addSecret(change, await lockClient(change.tx, clientId), { check, overlapSeconds: 0 });
    return { id: clientId, secret: value.reveal() };
  }
}
