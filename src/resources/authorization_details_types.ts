/** All types of authorization details, held in memory with their schemas compiled. */
import type { Database } from '../db/connection.ts';
import { readDetailsTypes, type DetailsType } from './authorization_details_type.ts';
import { compile, type Examine } from './details_schema.ts';

export interface KnownDetailsType extends DetailsType {
  readonly examine: Examine;
}

export class AuthorizationDetailsTypes {
  readonly #database: Database;
  readonly #onSwap: (() => void)[] = [];
  #types: ReadonlyMap<string, KnownDetailsType> = new Map();
  #begun = 0;
  #inForce = 0;

  constructor(database: Database) {
    this.#database = database;
  }

  async load(): Promise<void> {
    const mine = ++this.#begun;
    const types = await readDetailsTypes(this.#database);
    // whoever began later has read what is newer, and may have been quicker
    if (mine < this.#inForce) return;
    this.#inForce = mine;
    const before = [...this.#types.values()].map(versionOf).join();
    if (types.map(versionOf).join() === before) return;
    this.#types = new Map(types.map((type) => [type.type, { ...type, examine: compile(type.schema) }]));
    for (const listener of this.#onSwap) listener();
  }

  onSwap(listener: () => void): void {
    this.#onSwap.push(listener);
  }

  get(type: string): KnownDetailsType | undefined {
    return this.#types.get(type);
  }

  names(): string[] {
    return [...this.#types.keys()];
  }
}

/** A type that was deleted and made anew begins at version 1 again, but at another time. */
function versionOf({ type, version, createdAt }: DetailsType): string {
  return `${type} ${version} ${createdAt.getTime()}`;
}
