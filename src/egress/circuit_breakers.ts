/**
 * Keeps a circuit breaker for each destination. After several failures in a row the breaker opens, each time for
 * longer; then one request tests the destination. An unreachable destination opens the breaker of its whole origin. A
 * slow or broken destination opens only the breaker of its path, because a client may use any path of another party's
 * server in its metadata.
 */
import {
  BrokenCircuitError,
  circuitBreaker,
  CircuitState,
  ConsecutiveBreaker,
  ExponentialBackoff,
  handleWhen,
  retry,
  type Policy,
  type CircuitBreakerPolicy,
} from 'cockatiel';
import { LRUCache } from 'lru-cache';
import type { Reply } from './http_request.ts';
import { EgressFailed } from './failure.ts';
import type { Limits } from './limits.ts';

type BreakerLimits = Pick<Limits, 'failuresInARow' | 'restMillisecondsLeast' | 'restMillisecondsMost'>;

const UNREACHABLE = new Set(['connection_failed', 'certificate_refused', 'name_unknown']);
const BREAKERS_AT_MOST = 1_000;

/** Repeats a request once after a broken connection, if the request is repeatable. */
const retryOnce = retry(handleWhen(isBroken), {
  maxAttempts: 1,
  backoff: new ExponentialBackoff({ initialDelay: 50 }),
});

/** The failures that count for an origin, and those that count for a path. */
const FAILURES = {
  unreachable: handleWhen((error) => error instanceof EgressFailed && UNREACHABLE.has(error.failure.reason)),
  broken: handleWhen((error) => error instanceof EgressFailed && isSlowOrBroken(error)).orWhenResult(
    (reply) => (reply as Reply).status >= 500,
  ),
};

export class CircuitBreakers {
  readonly #limits: BreakerLimits;
  readonly #origins = new LRUCache<string, CircuitBreakerPolicy>({ max: BREAKERS_AT_MOST });
  readonly #paths = new LRUCache<string, CircuitBreakerPolicy>({ max: BREAKERS_AT_MOST });

  constructor(limits: BreakerLimits) {
    this.#limits = limits;
  }

  /**
   * Sends the request, or throws `EgressFailed` with reason `resting` if a breaker is open. `repeatable`: whether
   * sending it twice does no harm.
   */
  async send(url: URL, repeatable: boolean, request: () => Promise<Reply>): Promise<Reply> {
    const origin = this.#breaker(this.#origins, url.origin, FAILURES.unreachable);
    const path = this.#breaker(this.#paths, `${url.origin}${url.pathname}`, FAILURES.broken);
    // one request at a time tests the destination; the others do not wait for its result
    if (origin.state === CircuitState.HalfOpen || path.state === CircuitState.HalfOpen) throw resting(url);
    try {
      return await origin.execute(() => path.execute(() => (repeatable ? retryOnce.execute(request) : request())));
    } catch (error) {
      if (error instanceof BrokenCircuitError) throw resting(url);
      throw error;
    }
  }

  /** The number of breakers of recent destinations in each state. */
  get states(): Readonly<Record<'closed' | 'open' | 'half_open', number>> {
    const states = { closed: 0, open: 0, half_open: 0 };
    for (const { state } of [...this.#origins.values(), ...this.#paths.values()]) {
      if (state === CircuitState.Closed) states.closed++;
      else if (state === CircuitState.HalfOpen) states.half_open++;
      else states.open++;
    }
    return states;
  }

  #breaker(breakers: LRUCache<string, CircuitBreakerPolicy>, name: string, failures: Policy): CircuitBreakerPolicy {
    const known = breakers.get(name);
    if (known) return known;
    const { failuresInARow, restMillisecondsLeast, restMillisecondsMost } = this.#limits;
    const made = circuitBreaker(failures, {
      breaker: new ConsecutiveBreaker(failuresInARow),
      halfOpenAfter: new ExponentialBackoff({ initialDelay: restMillisecondsLeast, maxDelay: restMillisecondsMost }),
    });
    breakers.set(name, made);
    return made;
  }
}

function resting({ host }: URL): EgressFailed {
  return new EgressFailed({ reason: 'resting', host });
}

function isBroken(error: unknown): boolean {
  return error instanceof EgressFailed && error.failure.reason === 'connection_failed';
}

function isSlowOrBroken({ failure }: EgressFailed): boolean {
  return failure.reason === 'timed_out' || (failure.reason === 'status_refused' && failure.status >= 500);
}
