/**
 * Rate limits: limits on the requests of addresses and clients, on attempts with credentials, login hints, user codes
 * and registrations, and on the load of the process. The database counts attempts for all nodes together; each node
 * counts requests by itself.
 */
import type pg from 'pg';
import type { Clock } from '../base/clock.ts';
import type { Database } from '../db/connection.ts';
import type { Feature } from '../lifecycle/feature.ts';
import type { AttemptLimiterSettings } from './attempt_limiter.ts';
import { FailedAuthentications } from './failed_authentications.ts';
import { LoginAttempts } from './login_attempts.ts';
import { LoginHints } from './login_hints.ts';
import { MailRequests } from './mail_requests.ts';
import { RateLimiter } from './rate_limiter.ts';
import { Registrations } from './registrations.ts';
import { SecretGuesses } from './secret_guesses.ts';
import type { BucketSettings } from './rate_limit_buckets.ts';
import { UserCodeGuesses } from './user_code_guesses.ts';
import { Verifications } from './verifications.ts';
import type { WorkerSync } from './worker_sync.ts';

export interface RateLimitsSettings {
  readonly pool: pg.Pool;
  readonly clientRequests: BucketSettings;
  readonly addressRequests: BucketSettings;
  /** The event loop delay at which the process begins to refuse requests. */
  readonly overloadMilliseconds: number;
  readonly failedAuthenticationsPerMinute: number;
  readonly registrationsPerAddress: number;
  readonly database: Database;
  /** Digests, with a key, the value for which attempts are counted. */
  readonly digestAttempt: AttemptLimiterSettings['digest'];
  readonly clock: Clock;
  /** The other processes of this node; `undefined` if it has only one. */
  readonly siblings: WorkerSync | undefined;
}

export interface RateLimits {
  readonly rateLimiter: RateLimiter;
  readonly failedAuthentications: FailedAuthentications;
  readonly secretGuesses: SecretGuesses;
  readonly registrations: Registrations;
  readonly loginAttempts: LoginAttempts;
  readonly loginHints: LoginHints;
  readonly mailRequests: MailRequests;
  readonly userCodeGuesses: UserCodeGuesses;
  readonly verifications: Verifications;
  readonly feature: Feature;
}

export function createRateLimits(settings: RateLimitsSettings): RateLimits {
  const { pool, database, digestAttempt: digest, clock, failedAuthenticationsPerMinute, siblings: others } = settings;
  const attempts: AttemptLimiterSettings = { database, digest, clock };
  const rateLimiter = new RateLimiter({
    perClient: settings.clientRequests,
    perAddress: settings.addressRequests,
    latestMilliseconds: settings.overloadMilliseconds,
    others,
  });
  const failedAuthentications = new FailedAuthentications(pool, failedAuthenticationsPerMinute, others);
  return {
    rateLimiter,
    failedAuthentications,
    secretGuesses: new SecretGuesses(pool),
    registrations: new Registrations(pool, settings.registrationsPerAddress),
    loginAttempts: new LoginAttempts(attempts),
    loginHints: new LoginHints(attempts),
    mailRequests: new MailRequests(attempts),
    userCodeGuesses: new UserCodeGuesses(attempts),
    verifications: new Verifications(),
    feature: rateLimitsFeature(rateLimiter, failedAuthentications),
  };
}

function rateLimitsFeature(rateLimiter: RateLimiter, failedAuthentications: FailedAuthentications): Feature {
  return {
    showMetrics(metrics) {
      metrics.gauge(
        'gatehouse_event_loop_late_milliseconds',
        'How late this process is with its own work.',
        () => rateLimiter.eventLoopDelayMilliseconds,
        'max',
      );
      metrics.eventLoop(() => rateLimiter.takeEventLoopDelays());
      metrics.counters(
        'gatehouse_requests_refused_total',
        'Requests refused by a limit, or for want of time.',
        'limit',
        () => ({ ...rateLimiter.refused, failed_authentication: failedAuthentications.refused }),
      );
      metrics.counters(
        'gatehouse_authentications_failed_total',
        'Wrong credentials of clients: refused with 401 within the limits, or with 429 past them.',
        'status',
        () => ({ 401: failedAuthentications.counted, 429: failedAuthentications.refused }),
      );
    },
    stop: () => rateLimiter.stop(),
  };
}
