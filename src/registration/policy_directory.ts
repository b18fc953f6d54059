/** The policies that anybody may come under, held in memory: discovery tells of them, and every unknown URL asks for one. */
import { LatestWins } from '../base/latest_wins.ts';
import type { Database } from '../db/connection.ts';
import { readPolicies } from './policies.ts';
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

  /** Whether clients can register at all: without a policy there is no token for it either. */
  get any(): boolean {
    return this.#policies.length > 0;
  }

  /** The policy for those who come without a token. */
  get open(): RegistrationPolicy | undefined {
    return this.#policies.find((policy) => policy.open_registration);
  }

  /** The policy for those whose client_id is a URL. */
  get forDocuments(): RegistrationPolicy | undefined {
    return this.#policies.find((policy) => policy.client_id_metadata_documents);
  }
}
