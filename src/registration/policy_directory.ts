/** Registration policies in memory, for discovery and for every request with an unknown client_id URL. */
import { LatestWins } from '../base/latest_wins.ts';
import type { Database } from '../db/connection.ts';
import { readPolicies } from './policy_store.ts';
import type { RegistrationPolicy } from './policy.ts';

const POLICIES_AT_MOST = 1_000;

export class PolicyDirectory {
  readonly #database: Database;
  readonly #newest = new LatestWins();
  #policies: readonly RegistrationPolicy[] = [];

  constructor(database: Database) {
    this.#database = database;
  }

  load(): Promise<void> {
    return this.#newest.run(
      () => readPolicies(this.#database, { limit: POLICIES_AT_MOST }),
      (stored) => {
        this.#policies = stored.map(({ policy }) => policy);
      },
    );
  }

  /** Whether clients can register at all; without a policy there are no initial access tokens either. */
  get any(): boolean {
    return this.#policies.length > 0;
  }

  /** The policy for registration without a token. */
  get open(): RegistrationPolicy | undefined {
    return this.#policies.find((policy) => policy.open_registration);
  }

  /** The policy for clients whose client_id is a URL. */
  get forDocuments(): RegistrationPolicy | undefined {
    return this.#policies.find((policy) => policy.client_id_metadata_documents);
  }
}
