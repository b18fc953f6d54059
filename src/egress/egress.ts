/**
 * Sends all requests to URLs that clients supply. Any client may supply a URL, and this server can reach addresses that
 * clients can not. So the destination must be on the public internet or allowed by the operator. The name is resolved
 * once, each address is checked, and the connection uses a checked address. Redirects, content encodings and large
 * bodies are refused. Responses are cached, so that clients can't use this server to flood another one.
 *
 * There are two lanes, each with its own concurrency limit, queue and cache: one for URLs from admins, one for URLs
 * from unknown parties. So slow hosts of unknown parties do not delay requests for a client that an admin created.
 */
import type { Clock } from '../base/clock.ts';
import { FaultLog } from '../base/fault_log.ts';
import type { Feature } from '../lifecycle/feature.ts';
import type { Logger } from '../log.ts';
import { checkedAddresses, isSpecialAddress, type RefusesAddress, type Resolve } from './addresses.ts';
import { destinationOf, type Destination, type Rules } from './destination.ts';
import { sendRequest, type Outgoing, type Reply } from './http_request.ts';
import { EgressFailed } from './failure.ts';
import { ConcurrencyLimit } from './concurrency.ts';
import { LIMITS, type Limits } from './limits.ts';
import { ResponseCache, type CachedResponse } from './response_cache.ts';
import { CircuitBreakers } from './circuit_breakers.ts';

export interface EgressSettings {
  /** Origins that the operator allows at any address, over plain http too if the origin has that scheme. */
  readonly allow: readonly string[];
  readonly resolve: Resolve;
  readonly clock: Clock;
  readonly log: Logger;
  readonly limits?: Partial<Limits>;
  /**
   * This setting and the next two are for tests, which have no public address, no port 443 and no certificate authority
   * that Node.js trusts.
   */
  readonly ports?: readonly number[];
  readonly refusesAddress?: RefusesAddress;
  readonly ca?: string;
}

/** The party that causes a request. */
export interface Cause {
  /** Whether an admin named the URL's owner: a client that an admin created, or a trusted issuer. */
  readonly vetted?: boolean;
  /** The network, as text, of the unknown party whose request causes this one. */
  readonly asker?: string | undefined;
}

export interface GetOptions extends Cause {
  /** A cached response or failure from before this time is not used, even if it is fresh. */
  readonly fetchedSince?: Date | undefined;
}

export interface EgressFeatureSettings extends Pick<EgressSettings, 'resolve' | 'clock' | 'log'> {
  readonly egressAllow: readonly string[];
  /** A certificate authority that replaces those of Node.js in tests. */
  readonly ca: string | undefined;
}

export function createEgress({ egressAllow: allow, resolve, clock, log, ca }: EgressFeatureSettings): {
  readonly egress: Egress;
  readonly feature: Feature;
} {
  const egress = new Egress({ allow, resolve, clock, log, ...(ca !== undefined && { ca }) });
  const feature: Feature = {
    showMetrics(metrics) {
      metrics.gauges(
        'gatehouse_egress_places',
        'Places outside that were asked lately, by the state of their breakers.',
        'state',
        () => egress.places,
      );
    },
    checks: {
      // for operators only: the node stays ready if a client's server is down
      egress: () => ({ ready: true, says: resting(egress.places) }),
    },
  };
  return { egress, feature };
}

function resting({ open, half_open }: Egress['places']): string {
  const places = open + half_open;
  return places === 0 ? 'ok' : `${places} of the places outside ${places === 1 ? 'rests' : 'rest'}`;
}

export class Egress {
  readonly #settings: EgressSettings;
  readonly #rules: Rules;
  readonly #limits: Limits;
  readonly #lanes: Readonly<Record<'vetted' | 'strangers', Lane>>;
  readonly #breakers: CircuitBreakers;
  readonly #faults: FaultLog;

  constructor(settings: EgressSettings) {
    this.#settings = settings;
    this.#rules = { allow: settings.allow, ports: settings.ports ?? [443] };
    this.#limits = { ...LIMITS, ...settings.limits };
    this.#lanes = { vetted: openLane(this.#limits), strangers: openLane(this.#limits) };
    this.#breakers = new CircuitBreakers(this.#limits);
    this.#faults = new FaultLog(settings.log, {
      begins: 'egress.failed',
      goesOn: 'egress.still_fails',
      ends: 'egress.works_again',
    });
  }

  /** Fetches a JSON document or returns a cached one. Throws `EgressFailed`, also for any status but 200. */
  async get(url: string, { fetchedSince, ...cause }: GetOptions = {}): Promise<CachedResponse> {
    const now = this.#settings.clock();
    const { cache, underWay } = this.#laneOf(cause);
    const known = cache.recall(url, now, fetchedSince);
    if (known instanceof EgressFailed) throw known;
    if (known) return known;
    const same = underWay.get(url);
    if (same) return same;
    const fetching = this.#fetch(url, now, cause).finally(() => underWay.delete(url));
    underWay.set(url, fetching);
    return fetching;
  }

  /** Returns the last response of `get`, of any age, for callers that prefer it to a failure. */
  last(url: string, cause: Cause = {}): CachedResponse | undefined {
    return this.#laneOf(cause).cache.last(url);
  }

  /** Sends a body and returns any response but a redirect. Throws `EgressFailed`. Responses are not cached. */
  post(url: string, headers: Readonly<Record<string, string>>, body: string, cause: Cause = {}): Promise<Reply> {
    return this.#send(url, { method: 'POST', headers, body }, cause);
  }

  /** The number of breakers of recent destinations in each state. */
  get places(): CircuitBreakers['states'] {
    return this.#breakers.states;
  }

  #laneOf({ vetted = false }: Cause): Lane {
    return this.#lanes[vetted ? 'vetted' : 'strangers'];
  }

  async #fetch(url: string, now: Date, cause: Cause): Promise<CachedResponse> {
    const { cache } = this.#laneOf(cause);
    try {
      const reply = await this.#send(url, { method: 'GET', headers: { accept: 'application/json' } }, cause);
      const { 'content-type': contentType = '', 'cache-control': cacheControl, age } = reply.headers;
      const freshUntil = cache.freshUntil(now, cacheControl, age);
      const answer = { contentType, body: reply.body, fetchedAt: now, freshUntil };
      cache.keep(url, answer);
      return answer;
    } catch (error) {
      if (error instanceof EgressFailed) cache.keepFailure(url, error, now);
      throw error;
    }
  }

  async #send(url: string, outgoing: Outgoing, cause: Cause): Promise<Reply> {
    const signal = AbortSignal.timeout(this.#limits.totalMilliseconds);
    try {
      const destination = destinationOf(url, this.#rules);
      const reply = await this.#breakers.send(destination.url, outgoing.method === 'GET', () =>
        this.#sendInTurn(destination, { outgoing, cause }, signal).catch((error: unknown) => {
          throw this.#failureOf(error, destination.host, signal);
        }),
      );
      this.#faults.worked(breakerKeyOf(url), { host: destination.host });
      this.#faults.worked(laneName(cause), { lane: laneName(cause) });
      return reply;
    } catch (error) {
      const failed = this.#failureOf(error, URL.parse(url)?.host ?? '', signal);
      const { failure } = failed;
      // the concurrency limit was reached, which is no failure of the destination
      if (failure.reason === 'busy') this.#faults.failed(laneName(cause), { ...failure, lane: laneName(cause) });
      else this.#faults.failed(breakerKeyOf(url), failure);
      throw failed;
    }
  }

  async #sendInTurn(
    destination: Destination,
    { outgoing, cause }: { readonly outgoing: Outgoing; readonly cause: Cause },
    signal: AbortSignal,
  ): Promise<Reply> {
    const { concurrency } = this.#laneOf(cause);
    const { resolve, refusesAddress = isSpecialAddress, ca } = this.#settings;
    const { host } = destination;
    const busy = (): EgressFailed => new EgressFailed({ reason: 'busy', host });
    const source = { host, asker: cause.asker };
    if (concurrency.isFull(source)) throw busy();
    const began = performance.now();
    // no request was sent, so this is no failure of the destination
    const release = await concurrency.acquire(source, signal).catch(() => {
      throw busy();
    });
    try {
      // in the remaining time, even a healthy destination might not answer
      if (performance.now() - began > this.#limits.totalMilliseconds / 2) throw busy();
      const addresses = await unlessAborted(checkedAddresses(destination, resolve, refusesAddress), signal);
      const reply = await sendRequest(destination, addresses, outgoing, { limits: this.#limits, ca, signal });
      const { status } = reply;
      if (outgoing.method === 'GET' && status !== 200)
        throw new EgressFailed({ reason: 'status_refused', host, status });
      return reply;
    } finally {
      release();
    }
  }

  #failureOf(error: unknown, host: string, signal: AbortSignal): EgressFailed {
    if (error instanceof EgressFailed) return error;
    const options = { cause: error };
    const { totalMilliseconds: limitMilliseconds, headerBytes: limitBytes } = this.#limits;
    if (signal.aborted) return new EgressFailed({ reason: 'timed_out', host, limitMilliseconds }, options);
    const errorCode = (error as NodeJS.ErrnoException).code ?? 'UNKNOWN';
    if (errorCode === 'HPE_HEADER_OVERFLOW')
      return new EgressFailed({ reason: 'headers_too_large', host, limitBytes }, options);
    const reason = /CERT|UNABLE_TO_(GET|VERIFY)/.test(errorCode) ? 'certificate_refused' : 'connection_failed';
    return new EgressFailed({ reason, host, errorCode }, options);
  }
}

interface Lane {
  readonly concurrency: ConcurrencyLimit;
  readonly cache: ResponseCache;
  readonly underWay: Map<string, Promise<CachedResponse>>;
}

function openLane(limits: Limits): Lane {
  return { concurrency: new ConcurrencyLimit(limits), cache: new ResponseCache(limits), underWay: new Map() };
}

function laneName({ vetted = false }: Cause): string {
  return vetted ? 'vetted' : 'strangers';
}

/** Returns origin and path, which identify a circuit breaker (circuit_breakers.ts). */
function breakerKeyOf(url: string): string {
  const parsed = URL.parse(url);
  return parsed ? `${parsed.origin}${parsed.pathname}` : '';
}

/** Rejects when the signal aborts, because a DNS look-up can't be cancelled. */
async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const giveUp = (): void => reject(signal.reason as Error);
  signal.addEventListener('abort', giveUp, { once: true });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener('abort', giveUp);
  }
}
