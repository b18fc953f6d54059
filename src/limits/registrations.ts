/**
 * Limits registrations, and requests with client ids that are URLs, for which the server fetches a document: per
 * network, for all nodes together. A plan of the OpenID conformance suite registers about fifty clients from one
 * address.
 */
import type { RateLimiterPostgres } from 'rate-limiter-flexible';
import type pg from 'pg';
import { countAttempt, createCounter, keyFor, type Admission, type PointLimit } from './failed_attempts.ts';
import { networkOf, siteOf } from './rate_limit_key.ts';

const REGISTRATIONS: PointLimit = { points: 100, duration: 600 };
const MANAGEMENT: PointLimit = { points: 300, duration: 600 };
const DOCUMENTS: PointLimit = { points: 30, duration: 600 };
/** Such clients are soon removed, but their audit entries stay: at most 10,000 entries a day. */
const ANONYMOUS_IN_A_DAY: PointLimit = { points: 2_000, duration: 86_400 };
const DOCUMENTS_IN_A_DAY: PointLimit = { points: 500, duration: 86_400 };

export class Registrations {
  readonly #registrations: RateLimiterPostgres;
  readonly #management: RateLimiterPostgres;
  readonly #documents: RateLimiterPostgres;
  readonly #anonymousInADay: RateLimiterPostgres;
  readonly #documentsInADay: RateLimiterPostgres;

  constructor(pool: pg.Pool) {
    this.#registrations = createCounter(pool, 'registration', REGISTRATIONS, { remembers: true });
    this.#management = createCounter(pool, 'registration_management', MANAGEMENT, { remembers: true });
    this.#documents = createCounter(pool, 'metadata_document', DOCUMENTS);
    this.#anonymousInADay = createCounter(pool, 'registration_day', ANONYMOUS_IN_A_DAY, { remembers: true });
    this.#documentsInADay = createCounter(pool, 'metadata_document_day', DOCUMENTS_IN_A_DAY);
  }

  /** Counts a registration, valid or not. One without an initial access token also counts for its site's day. */
  admitRegistration(address: string, { anonymous }: { readonly anonymous: boolean }): Promise<Admission> {
    return countAttempt([
      [this.#registrations, keyFor(networkOf(address))],
      ...(anonymous ? ([[this.#anonymousInADay, keyFor(siteOf(address))]] as const) : []),
    ]);
  }

  admitManagement(address: string): Promise<Admission> {
    return countAttempt([[this.#management, keyFor(networkOf(address))]]);
  }

  /** Counts a request with a URL for which the server has no client yet. */
  admitDocument(address: string): Promise<Admission> {
    return countAttempt([
      [this.#documents, keyFor(networkOf(address))],
      [this.#documentsInADay, keyFor(siteOf(address))],
    ]);
  }
}
