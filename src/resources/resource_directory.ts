/** All resources, held in memory: there are tens of them, and every token asks for one. */
import type { Database } from '../db/connection.ts';
import { listResources, type Resource } from './resource.ts';

export class ResourceDirectory {
  readonly #database: Database;
  #resources: ReadonlyMap<string, Resource> = new Map();
  #begun = 0;
  #inForce = 0;

  constructor(database: Database) {
    this.#database = database;
  }

  async load(): Promise<void> {
    const mine = ++this.#begun;
    const resources = await listResources(this.#database);
    // whoever began later has read what is newer, and may have been quicker
    if (mine < this.#inForce) return;
    this.#inForce = mine;
    this.#resources = new Map(resources.map((resource) => [resource.identifier, resource]));
  }

  get(identifier: string): Resource | undefined {
    return this.#resources.get(identifier);
  }
}
