/**
 * Which places outside are worth asking. One that failed several times in a row rests, for longer each time; then one
 * request tries whether it is back. What can't be reached at all is a matter of the whole origin; being slow or broken
 * is one of the path alone, since a client may name any path of somebody else's server as its own.
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

type PlaceLimits = Pick<Limits, 'failuresInARow' | 'restMillisecondsLeast' | 'restMillisecondsMost'>;

const UNREACHABLE = new Set(['connection_failed', 'certificate_refused', 'name_unknown']);
const PLACES_AT_MOST = 1_000;

/** A connection that broke is made once more, where to ask twice does no harm. */
const onceMore = retry(handleWhen(isBroken), { maxAttempts: 1, backoff: new ExponentialBackoff({ initialDelay: 50 }) });

/** What counts as a failure of an origin, and of a path. */
const FAILURES = {
  unreachable: handleWhen((error) => error instanceof EgressFailed && UNREACHABLE.has(error.failure.reason)),
  broken: handleWhen((error) => error instanceof EgressFailed && isSlowOrBroken(error)).orWhenResult(
    (reply) => (reply as Reply).status >= 500,
  ),
};

export class CircuitBreakers {
  readonly #limits: PlaceLimits;
  readonly #origins = new LRUCache<string, CircuitBreakerPolicy>({ max: PLACES_AT_MOST });
  readonly #paths = new LRUCache<string, CircuitBreakerPolicy>({ max: PLACES_AT_MOST });

  constructor(limits: PlaceLimits) {
    this.#limits = limits;
  }

  /** Asks, unless the place rests: throws `EgressFailed` then. `repeatable`: whether to ask twice does no harm. */
  async ask(url: URL, repeatable: boolean, request: () => Promise<Reply>): Promise<Reply> {
    const origin = this.#breaker(this.#origins, url.origin, FAILURES.unreachable);
    const path = this.#breaker(this.#paths, `${url.origin}${url.pathname}`, FAILURES.broken);
    // one request at a time tries a place that rested, and nobody waits for what comes of it
    if (origin.state === CircuitState.HalfOpen || path.state === CircuitState.HalfOpen) throw resting(url);
    try {
      return await origin.execute(() => path.execute(() => (repeatable ? onceMore.execute(request) : request())));
    } catch (error) {
      if (error instanceof BrokenCircuitError) throw resting(url);
      throw error;
    }
  }

  /** How many of the places that were asked lately are in which state. */
  get states(): Readonly<Record<'closed' | 'open' | 'half_open', number>> {
    const states = { closed: 0, open: 0, half_open: 0 };
    for (const { state } of [...this.#origins.values(), ...this.#paths.values()]) {
      if (state === CircuitState.Closed) states.closed++;
      else if (state === CircuitState.HalfOpen) states.half_open++;
      else states.open++;
    }
    return states;
  }

  #breaker(places: LRUCache<string, CircuitBreakerPolicy>, name: string, failures: Policy): CircuitBreakerPolicy {
    const known = places.get(name);
    if (known) return known;
    const { failuresInARow, restMillisecondsLeast, restMillisecondsMost } = this.#limits;
    const made = circuitBreaker(failures, {
      breaker: new ConsecutiveBreaker(failuresInARow),
      halfOpenAfter: new ExponentialBackoff({ initialDelay: restMillisecondsLeast, maxDelay: restMillisecondsMost }),
    });
    places.set(name, made);
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
