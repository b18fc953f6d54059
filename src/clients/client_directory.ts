/**
 * Caches clients, and also unknown client_ids, until the invalidation log names them. While one query runs, further
 * lookups are collected and read together with the next one: a server with more clients than fit in the cache sends few
 * queries, and no request waits for a batch to fill.
 */
import { LRUCache } from 'lru-cache';
import { outsideTimeBudget, withinTimeBudget } from '../base/time_budget.ts';
import type { Database } from '../db/connection.ts';
import type { ClientWithSecrets } from './client.ts';
import { readClientsNamed } from './client_rows.ts';

/**
 * Sized by the length of the client as JSON: a simple client has 900 characters and takes about twice as much memory.
 */
const CLIENTS = { max: 10_000, maxSize: 16 * 1024 * 1024 };
/** Unknown ids are kept for a shorter time and in a separate cache, so that guesses do not evict clients. */
const ABSENT = { max: 5_000, ttl: 60_000 };
/** RFC 6749, appendix A.1; long enough for a URL. Other texts are not looked up. */
const CLIENT_ID = /^[\x20-\x7e]{1,400}$/;
const CONCURRENT_READS = 2;
const CLIENTS_PER_READ = 100;

interface Load {
  readonly clientId: string;
  readonly found: Promise<ClientWithSecrets | undefined>;
  readonly resolve: (found: ClientWithSecrets | undefined) => void;
  readonly reject: (error: unknown) => void;
  /** Set if the client changed during the read: the result may be the old version. */
  outdated: boolean;
}

export class ClientDirectory {
  readonly #database: Database;
  readonly #clients = new LRUCache<string, ClientWithSecrets>({
    ...CLIENTS,
    sizeCalculation: (client) => JSON.stringify(client).length,
  });
  readonly #absent = new LRUCache<string, true>(ABSENT);
  /** The pending lookups, by client_id. */
  readonly #loads = new Map<string, Load>();
  readonly #queued: Load[] = [];
  #reads = 0;

  constructor(database: Database) {
    this.#database = database;
  }

  /** The number of cached clients, their size in bytes as JSON, and the number of cached unknown ids. */
  get cacheSize(): { readonly clients: number; readonly bytes: number; readonly absent: number } {
    return { clients: this.#clients.size, bytes: this.#clients.calculatedSize, absent: this.#absent.size };
  }

  /** Returns the client, or `undefined` if it does not exist. Returns the same object until the client changes. */
  async find(clientId: string): Promise<ClientWithSecrets | undefined> {
    const known = this.known(clientId);
    if (known) return known;
    if (!CLIENT_ID.test(clientId) || this.#absent.has(clientId)) return undefined;
    return withinTimeBudget((this.#loads.get(clientId) ?? this.#load(clientId)).found);
  }

  /** Returns the client if it is cached. */
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
   * Clears the cache and reads its clients again, most recently used first, so that they are in memory if the database
   * fails again. Never rejects; clients that cannot be read are read when they are needed.
   */
  async reload(): Promise<void> {
    const held = [...this.#clients.keys()];
    this.dropAll();
    while (held.length > 0) {
      // one query at a time, so that a request waits for at most one of them
      const some = held.splice(0, CLIENTS_PER_READ);
      const read = await Promise.allSettled(some.map((clientId) => this.find(clientId)));
      if (read.some(({ status }) => status === 'rejected')) return;
    }
  }

  #load(clientId: string): Load {
    const { promise: found, resolve, reject } = Promise.withResolvers<ClientWithSecrets | undefined>();
    const load: Load = { clientId, found, resolve, reject, outdated: false };
    this.#loads.set(clientId, load);
    this.#queued.push(load);
    this.#readSome();
    return load;
  }

  #readSome(): void {
    while (this.#queued.length > 0 && this.#reads < CONCURRENT_READS) {
      this.#reads++;
      void outsideTimeBudget(() => this.#read(this.#queued.splice(0, CLIENTS_PER_READ))).finally(() => {
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
      for (const load of loads) this.#complete(load, byName.get(load.clientId));
    } catch (error) {
      for (const load of loads) {
        this.#forget(load);
        load.reject(error);
      }
    }
  }

  #complete(load: Load, client: ClientWithSecrets | undefined): void {
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
