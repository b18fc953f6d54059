/** Clients as the token path finds them: cached, absent ones too, until the change log names them. */
import { LRUCache } from 'lru-cache';
import type { Database } from '../db/connection.ts';
import type { ClientWithSecrets } from './client.ts';
import { readClient } from './client_rows.ts';

const CLIENTS_AT_MOST = 20_000;
/** What asks for it is no client of ours, so it is kept for less long and apart: guesses must not push clients out. */
const ABSENT = { max: 5_000, ttl: 60_000 };
/** RFC 6749, appendix A.1; long enough for a URL. What is no client_id is not looked up. */
const CLIENT_ID = /^[\x20-\x7e]{1,400}$/;

interface Load {
  readonly found: Promise<ClientWithSecrets | undefined>;
  /** Set when the client changed while it was being read: what was read may be the old one. */
  outdated: boolean;
}

export class ClientDirectory {
  readonly #database: Database;
  readonly #clients = new LRUCache<string, ClientWithSecrets>({ max: CLIENTS_AT_MOST });
  readonly #absent = new LRUCache<string, true>(ABSENT);
  readonly #loads = new Map<string, Load>();

  constructor(database: Database) {
    this.#database = database;
  }

  /** The same object for as long as the client has not changed. */
  async find(clientId: string): Promise<ClientWithSecrets | undefined> {
    const known = this.known(clientId);
    if (known) return known;
    if (!CLIENT_ID.test(clientId) || this.#absent.has(clientId)) return undefined;
    return (this.#loads.get(clientId) ?? this.#load(clientId)).found;
  }

  /** The client, where that can be said without asking the database. */
  known(clientId: string): ClientWithSecrets | undefined {
    return this.#clients.get(clientId);
  }

  drop(clientId: string): void {
    this.#clients.delete(clientId);
    this.#absent.delete(clientId);
    const load = this.#loads.get(clientId);
    if (load) load.outdated = true;
    this.#loads.delete(clientId);
  }

  dropAll(): void {
    for (const load of this.#loads.values()) load.outdated = true;
    this.#loads.clear();
    this.#clients.clear();
    this.#absent.clear();
  }

  #load(clientId: string): Load {
    const load: Load = {
      outdated: false,
      found: readClient(this.#database, clientId)
        .then((client) => {
          if (load.outdated) return client;
          if (client) this.#clients.set(clientId, client);
          else this.#absent.set(clientId, true);
          return client;
        })
        .finally(() => {
          if (this.#loads.get(clientId) === load) this.#loads.delete(clientId);
        }),
    };
    this.#loads.set(clientId, load);
    return load;
  }
}
