/**
 * Clients that register themselves, at the registration endpoint (RFC 7591, RFC 7592) or with a client_id that is the
 * URL of their metadata. Policies define who may register, which metadata is permitted, and when an unused client is
 * removed.
 */
import type { Middleware } from 'koa';
import { addSeconds, type Clock } from '../base/clock.ts';
import { Unavailable } from '../base/unavailable.ts';
import type { ClientDirectory } from '../clients/client_directory.ts';
import type { SecretVerifier } from '../clients/secret_verifier.ts';
import { NotFetched, type FetchDocument } from '../clients/sector.ts';
import type { Egress } from '../egress/egress.ts';
import { EgressFailed, isBusy } from '../egress/failure.ts';
import type { Feature } from '../lifecycle/feature.ts';
import type { FailedAuthentications } from '../limits/failed_authentications.ts';
import { networkOf } from '../limits/rate_limit_key.ts';
import type { Registrations } from '../limits/registrations.ts';
import { discloseRegistration } from './discovery.ts';
import { MetadataDocuments } from './metadata_documents.ts';
import { PolicyDirectory } from './policy_directory.ts';
import { registrationEndpoint, type RegistrationDependencies } from './registration_endpoint.ts';
import { removeUnusedClients } from './unused_clients.ts';

type Shared = 'issuer' | 'database' | 'vault' | 'trail' | 'changes' | 'statements' | 'clientDemands' | 'log';

export interface RegistrationSettings extends Pick<RegistrationDependencies, Shared> {
  readonly clients: ClientDirectory;
  readonly secretVerifier: SecretVerifier;
  readonly registrations: Registrations;
  readonly failedAuthentications: FailedAuthentications;
  readonly egress: Pick<Egress, 'get'>;
  readonly clock: Clock;
}

export interface Registration {
  /** Answers the registration endpoint and the paths below it; other paths go to the next middleware. */
  readonly endpoint: Middleware;
  /** Names the registration endpoint in the server's metadata. */
  readonly discovery: Middleware;
  /** Clients whose client_id is the URL of their metadata. */
  readonly documents: MetadataDocuments;
  /** Fetches a document to which the metadata of a client refers that an admin registers or changes. */
  readonly fetchForAdmin: FetchDocument;
  readonly feature: Feature;
}

/**
 * For metadata documents, which anyone can have read again by an authorization request. A registration, which is
 * limited, reads what it names anew: a developer who has just corrected it does not wait.
 */
const DOCUMENT_AGE_AT_MOST_SECONDS = 10;

export function createRegistration(settings: RegistrationSettings): Registration {
  const { issuer, database, clients: directory, egress, registrations: limits, trail, changes, clock, log } = settings;
  const { secretVerifier: verifier, failedAuthentications: failures } = settings;
  const policies = new PolicyDirectory(database);
  const fetchDocument =
    ({ vetted, ageSeconds }: { readonly vetted: boolean; readonly ageSeconds: number }): FetchDocument =>
    async (url, askedFrom) => {
      const asker = askedFrom === undefined ? undefined : networkOf(askedFrom);
      const fetchedSince = addSeconds(clock(), -ageSeconds);
      try {
        return (await egress.get(url, { vetted, asker, fetchedSince })).body;
      } catch (error) {
        if (isBusy(error)) throw new Unavailable('Too many documents are being fetched.', { cause: error });
        throw error instanceof EgressFailed ? new NotFetched(error.message, { cause: error }) : error;
      }
    };
  const forRegistration = fetchDocument({ vetted: false, ageSeconds: 0 });
  const forDocuments = fetchDocument({ vetted: false, ageSeconds: DOCUMENT_AGE_AT_MOST_SECONDS });
  const documents = { directory, fetchDocument: forDocuments, policies, limits };
  const feature: Feature = {
    caches: [{ topic: 'registration_policy', onChange: () => policies.load(), load: () => policies.load() }],
    jobs: [
      {
        name: 'unused_clients',
        everyMilliseconds: 300_000,
        oncePerNode: true,
        run: () => removeUnusedClients(database, trail, clock()),
      },
    ],
  };
  return {
    endpoint: registrationEndpoint({
      ...settings,
      verifier,
      limits,
      failures,
      policies,
      fetchDocument: forRegistration,
    }),
    discovery: discloseRegistration(issuer, policies),
    documents: new MetadataDocuments({ database, egress, trail, changes, clock, log, ...documents }),
    fetchForAdmin: fetchDocument({ vetted: true, ageSeconds: 0 }),
    feature,
  };
}
