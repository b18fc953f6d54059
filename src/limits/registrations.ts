/**
 * Slows down those who register clients, and those who name clients by URLs that this server has to fetch: per address,
 * for all nodes together. A plan of the OpenID conformance suite registers about fifty clients from one address.
 */
import type { RateLimiterPostgres } from 'rate-limiter-flexible';
import type pg from 'pg';
import { countAttempt, createCounter, keyFor, type Admission, type Limit } from './failed_attempts.ts';
import { networkOf } from './network.ts';

const REGISTRATIONS: Limit = { points: 100, duration: 600 };
const MANAGEMENT: Limit = { points: 300, duration: 600 };
const DOCUMENTS: Limit = { points: 30, duration: 600 };

export class Registrations {
  readonly #registrations: RateLimiterPostgres;
  readonly #management: RateLimiterPostgres;
  readonly #documents: RateLimiterPostgres;

  constructor(pool: pg.Pool) {
    this.#registrations = createCounter(pool, 'registration', REGISTRATIONS, { remembers: true });
    this.#management = createCounter(pool, 'registration_management', MANAGEMENT, { remembers: true });
    this.#documents = createCounter(pool, 'metadata_document', DOCUMENTS);
  }

  /** Counts a registration, whether it will be a good one or not. */
  admitRegistration(address: string): Promise<Admission> {
    return countAttempt([[this.#registrations, keyFor(networkOf(address))]]);
  }

  admitManagement(address: string): Promise<Admission> {
    return countAttempt([[this.#management, keyFor(networkOf(address))]]);
  }

  /** Counts a URL that this server knows no client for. */
  admitDocument(address: string): Promise<Admission> {
    return countAttempt([[this.#documents, keyFor(networkOf(address))]]);
  }
}
