/**
 * Clients as the token path finds them: cached, absent ones too, until the change log names them. Those that are not
 * cached are read together with all that are asked for while the read before is under way: a server with far more
 * clients than it can keep at hand asks its database seldom, and nobody waits for a batch to fill.
 */
import { LRUCache } from 'lru-cache';
import type { Database } from '../db/connection.ts';
import type { ClientWithSecrets } from './client.ts';
import { readClientsNamed } from './client_rows.ts';

/** By the length of its text as JSON: a plain client has 900, and takes up twice that. */
const CLIENTS = { max: 10_000, maxSize: 16 * 1024 * 1024 };
/** What asks for it is no client of ours, so it is kept for less long and apart: guesses must not push clients out. */
const ABSENT = { max: 5_000, ttl: 60_000 };
/** RFC 6749, appendix A.1; long enough for a URL. What is no client_id is not looked up. */
const CLIENT_ID = /^[\x20-\x7e]{1,400}$/;
const READS_AT_ONCE = 2;
const CLIENTS_IN_A_READ = 100;

interface Load {
  readonly clientId: string;
  readonly found: Promise<ClientWithSecrets | undefined>;
  readonly resolve: (found: ClientWithSecrets | undefined) => void;
  readonly reject: (error: unknown) => void;
  /** Set when the client changed while it was being read: what was read may be the old one. */
  outdated: boolean;
}

export class ClientDirectory {
  readonly #database: Database;
  readonly #clients = new LRUCache<string, ClientWithSecrets>({
    ...CLIENTS,
    sizeCalculation: (client) => JSON.stringify(client).length,
  });
  readonly #absent = new LRUCache<string, true>(ABSENT);
  /** By name, one for each that somebody waits for. */
  readonly #loads = new Map<string, Load>();
  readonly #unread: Load[] = [];
  #reads = 0;

  constructor(database: Database) {
    this.#database = database;
  }

  /** How many clients are held, in how many bytes of their own text, and how many names that are none. */
  get held(): { readonly clients: number; readonly bytes: number; readonly absent: number } {
    return { clients: this.#clients.size, bytes: this.#clients.calculatedSize, absent: this.#absent.size };
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

  /**
   * Forgets everything, and reads what was held again, the last used first: those clients are served from memory if the
   * database goes away once more. Never rejects; what can't be read is read when it comes.
   */
  async readAnew(): Promise<void> {
    const held = [...this.#clients.keys()];
    this.dropAll();
    while (held.length > 0) {
      // one read at a time, so that a request never waits behind more than that
      const some = held.splice(0, CLIENTS_IN_A_READ);
      const read = await Promise.allSettled(some.map((clientId) => this.find(clientId)));
      if (read.some(({ status }) => status === 'rejected')) return;
    }
  }

  #load(clientId: string): Load {
    const { promise: found, resolve, reject } = Promise.withResolvers<ClientWithSecrets | undefined>();
    const load: Load = { clientId, found, resolve, reject, outdated: false };
    this.#loads.set(clientId, load);
    this.#unread.push(load);
    this.#readSome();
    return load;
  }

  #readSome(): void {
    while (this.#unread.length > 0 && this.#reads < READS_AT_ONCE) {
      this.#reads++;
      void this.#read(this.#unread.splice(0, CLIENTS_IN_A_READ)).finally(() => {
        this.#reads--;
        this.#readSome();
      });
    }
  }

  async #read(loads: readonly Load[]): Promise<void> {
    try {
      const names = loads.map(({ clientId }) => clientId);
      const clients = await readClientsNamed(this.#database, names);
      const byName = new Map(clients.map((client) => [client.clientId, client]));
      for (const load of loads) this.#isRead(load, byName.get(load.clientId));
    } catch (error) {
      for (const load of loads) {
        this.#forget(load);
        load.reject(error);
      }
    }
  }

  #isRead(load: Load, client: ClientWithSecrets | undefined): void {
    this.#forget(load);
    if (!load.outdated) {
      if (client) this.#clients.set(load.clientId, client);
      else this.#absent.set(load.clientId, true);
    }
    load.resolve(client);
  }

  #forget(load: Load): void {
    if (this.#loads.get(load.clientId) === load) this.#loads.delete(load.clientId);
  }
}
