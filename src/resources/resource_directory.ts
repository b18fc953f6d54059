/** Keeps all resources in memory: there are only tens of them, and every token request needs one. */
import { LatestWins } from '../base/latest_wins.ts';
import { normalUri } from '../base/uri.ts';
import type { Database } from '../db/connection.ts';
import type { Resource } from './resource.ts';
import { listResources } from './resource_rows.ts';

export class ResourceDirectory {
  readonly #database: Database;
  readonly #newest = new LatestWins();
  #resources: ReadonlyMap<string, Resource> = new Map();
  #identifiers: ReadonlyMap<string, string> = new Map();

  constructor(database: Database) {
    this.#database = database;
  }

  load(): Promise<void> {
    return this.#newest.run(
      () => listResources(this.#database),
      (resources) => {
        this.#resources = new Map(resources.map((resource) => [resource.identifier, resource]));
        this.#identifiers = new Map(resources.map(({ identifier }) => [normalUri(identifier), identifier]));
      },
    );
  }

  get(identifier: string): Resource | undefined {
    return this.#resources.get(identifier);
  }

  /** Returns the identifier as it is registered, for a URI that may be written in another way (RFC 3986, 6.2). */
  registered(uri: string): string {
    return this.#resources.has(uri) ? uri : (this.#identifiers.get(normalUri(uri)) ?? uri);
  }
}
