/**
 * Limits registrations, and requests with client ids that are URLs, for which the server fetches a document: per
 * network, for all nodes together. A plan of the OpenID conformance suite registers about fifty clients from one
 * address.
 */
import type { RateLimiterPostgres } from 'rate-limiter-flexible';
import type pg from 'pg';
import { countAttempt, createCounter, keyFor, type Admission, type PointLimit } from './failed_attempts.ts';
import { networkOf, siteOf } from './rate_limit_key.ts';

const REGISTRATION_SECONDS = 600;
const MANAGEMENT: PointLimit = { points: 300, duration: 600 };
const DOCUMENTS: PointLimit = { points: 30, duration: 600 };
/**
 * How often a site may use up the limit of a network in a day without an initial access token. Such clients are soon
 * removed, but their audit entries stay: with 100 registrations in ten minutes at most 10,000 entries a day.
 */
const ANONYMOUS_TIMES_A_DAY = 20;
const DAY_SECONDS = 86_400;
const DOCUMENTS_IN_A_DAY: PointLimit = { points: 500, duration: 86_400 };

export class Registrations {
  readonly #registrations: RateLimiterPostgres;
  readonly #management: RateLimiterPostgres;
  readonly #documents: RateLimiterPostgres;
  readonly #anonymousInADay: RateLimiterPostgres;
  readonly #documentsInADay: RateLimiterPostgres;

  /** `perAddress`: registrations of a network in ten minutes. */
  constructor(pool: pg.Pool, perAddress: number) {
    const inTenMinutes = { points: perAddress, duration: REGISTRATION_SECONDS };
    const inADay = { points: perAddress * ANONYMOUS_TIMES_A_DAY, duration: DAY_SECONDS };
    this.#registrations = createCounter(pool, 'registration', inTenMinutes, { remembers: true });
    this.#management = createCounter(pool, 'registration_management', MANAGEMENT, { remembers: true });
    this.#documents = createCounter(pool, 'metadata_document', DOCUMENTS);
    this.#anonymousInADay = createCounter(pool, 'registration_day', inADay, { remembers: true });
    this.#documentsInADay = createCounter(pool, 'metadata_document_day', DOCUMENTS_IN_A_DAY);
  }

  /**
   * Counts a registration, valid or not. One without an initial access token also counts for its site's day. With a
   * valid token, only a refused registration counts: the uses of the token limit the others.
   */
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
