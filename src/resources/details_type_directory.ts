/** Keeps all types of authorization details in memory, with compiled schemas. */
import { LatestWins } from '../base/latest_wins.ts';
import type { Database } from '../db/connection.ts';
import { readDetailsTypes, type DetailsType } from './authorization_details_type.ts';
import { compile, type Validate } from './details_schema.ts';

export interface KnownDetailsType extends DetailsType {
  readonly examine: Validate;
}

export class AuthorizationDetailsTypes {
  readonly #database: Database;
  readonly #newest = new LatestWins();
  readonly #onSwap: (() => void)[] = [];
  #types: ReadonlyMap<string, KnownDetailsType> = new Map();

  constructor(database: Database) {
    this.#database = database;
  }

  load(): Promise<void> {
    return this.#newest.run(
      () => readDetailsTypes(this.#database),
      (types) => this.#replace(types),
    );
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

  #replace(types: readonly DetailsType[]): void {
    const before = [...this.#types.values()].map(versionOf).join();
    if (types.map(versionOf).join() === before) return;
    this.#types = new Map(types.map((type) => [type.type, { ...type, examine: compile(type.schema) }]));
    for (const listener of this.#onSwap) listener();
  }
}

/** A type that was deleted and created again restarts at version 1, so the key includes the creation time. */
function versionOf({ type, version, createdAt }: DetailsType): string {
  return `${type} ${version} ${createdAt.getTime()}`;
}
