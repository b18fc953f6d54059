/**
 * The one guarded way out for URLs that clients supply. A client may be anybody, and this server stands where the
 * outside does not reach: what is fetched here must be on the public internet, or be named by the operator. The name
 * is looked up once, every address is checked, and the connection goes to what was checked; redirects, encodings and
 * more than a small body are refused; and one URL is asked for so seldom that nobody can be hammered through us.
 *
 * There are two lanes, each with places, a queue and a memory of its own: one for what admins have named, one for what
 * strangers have. However slow the hosts of strangers are, they hold no place that a client of an admin needs.
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
import { ResponseCache, type CachedAnswer } from './response_cache.ts';
import { CircuitBreakers } from './circuit_breakers.ts';

export interface EgressSettings {
  /** Origins that the operator lets through wherever they are, over plain http too where the origin says so. */
  readonly allow: readonly string[];
  readonly resolve: Resolve;
  readonly clock: Clock;
  readonly log: Logger;
  readonly limits?: Partial<Limits>;
  /** What follows is for tests, which have no public address, no port 443 and no authority that Node trusts. */
  readonly ports?: readonly number[];
  readonly refusesAddress?: RefusesAddress;
  readonly ca?: string;
}

/** For whom something is fetched or sent. */
export interface Cause {
  /** An admin named the URL's owner: a client that an admin made, a trusted issuer. Otherwise a stranger may have. */
  readonly vetted?: boolean;
  /** The network that a stranger asks from, as text, where a request of it is the cause. */
  readonly asker?: string | undefined;
}

export interface GetOptions extends Cause {
  /** An answer that was fetched before this will not do, however fresh it says it is. */
  readonly fetchedSince?: Date;
}

export interface EgressFeatureSettings extends Pick<EgressSettings, 'resolve' | 'clock' | 'log'> {
  readonly egressAllow: readonly string[];
  /** An authority that is trusted in the place of those of Node, in tests. */
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
      // for operators: if a client's server is down, this node is ready all the same
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
  readonly #places: CircuitBreakers;
  readonly #faults: FaultLog;

  constructor(settings: EgressSettings) {
    this.#settings = settings;
    this.#rules = { allow: settings.allow, ports: settings.ports ?? [443] };
    this.#limits = { ...LIMITS, ...settings.limits };
    this.#lanes = { vetted: openLane(this.#limits), strangers: openLane(this.#limits) };
    this.#places = new CircuitBreakers(this.#limits);
    this.#faults = new FaultLog(settings.log, {
      begins: 'egress.failed',
      goesOn: 'egress.still_fails',
      ends: 'egress.works_again',
    });
  }

  /** Fetches a JSON document, or reuses what it fetched; throws `EgressFailed`. Nothing but a 200 is an answer. */
  async get(url: string, { fetchedSince, ...cause }: GetOptions = {}): Promise<CachedAnswer> {
    const now = this.#settings.clock();
    const { memory, underWay } = this.#laneOf(cause);
    const known = memory.recall(url, now, fetchedSince);
    if (known instanceof EgressFailed) throw known;
    if (known) return known;
    const same = underWay.get(url);
    if (same) return same;
    const fetching = this.#fetch(url, now, cause).finally(() => underWay.delete(url));
    underWay.set(url, fetching);
    return fetching;
  }

  /** What `get` brought last, however long ago; for those who would rather have that than a failure. */
  last(url: string, cause: Cause = {}): CachedAnswer | undefined {
    return this.#laneOf(cause).memory.last(url);
  }

  /** Sends a body; throws `EgressFailed`. Any answer but a redirect is the caller's to judge, and none is reused. */
  post(url: string, headers: Readonly<Record<string, string>>, body: string, cause: Cause = {}): Promise<Reply> {
    return this.#send(url, { method: 'POST', headers, body }, cause);
  }

  /** How many of the places that were asked lately answer, rest, or are being tried again. */
  get places(): CircuitBreakers['states'] {
    return this.#places.states;
  }

  #laneOf({ vetted = false }: Cause): Lane {
    return this.#lanes[vetted ? 'vetted' : 'strangers'];
  }

  async #fetch(url: string, now: Date, cause: Cause): Promise<CachedAnswer> {
    const { memory } = this.#laneOf(cause);
    try {
      const reply = await this.#send(url, { method: 'GET', headers: { accept: 'application/json' } }, cause);
      const { 'content-type': contentType = '', 'cache-control': cacheControl, age } = reply.headers;
      const freshUntil = memory.freshUntil(now, cacheControl, age);
      const answer = { contentType, body: reply.body, fetchedAt: now, freshUntil };
      memory.keep(url, answer);
      return answer;
    } catch (error) {
      if (error instanceof EgressFailed) memory.keepFailure(url, error, now);
      throw error;
    }
  }

  async #send(url: string, outgoing: Outgoing, cause: Cause): Promise<Reply> {
    const signal = AbortSignal.timeout(this.#limits.totalMilliseconds);
    try {
      const destination = destinationOf(url, this.#rules);
      const reply = await this.#places.ask(destination.url, outgoing.method === 'GET', () =>
        this.#throughGate(destination, { outgoing, cause }, signal).catch((error: unknown) => {
          throw this.#failureOf(error, destination.host, signal);
        }),
      );
      this.#faults.worked(placeOf(url), { host: destination.host });
      this.#faults.worked(laneName(cause), { lane: laneName(cause) });
      return reply;
    } catch (error) {
      const failed = this.#failureOf(error, URL.parse(url)?.host ?? '', signal);
      const { failure } = failed;
      // that there is no room says nothing about the place
      if (failure.reason === 'busy') this.#faults.failed(laneName(cause), { ...failure, lane: laneName(cause) });
      else this.#faults.failed(placeOf(url), failure);
      throw failed;
    }
  }

  async #throughGate(
    destination: Destination,
    { outgoing, cause }: { readonly outgoing: Outgoing; readonly cause: Cause },
    signal: AbortSignal,
  ): Promise<Reply> {
    const { gate } = this.#laneOf(cause);
    const { resolve, refusesAddress = isSpecialAddress, ca } = this.#settings;
    const { host } = destination;
    const busy = (): EgressFailed => new EgressFailed({ reason: 'busy', host });
    const leaving = { host, asker: cause.asker };
    if (gate.full(leaving)) throw busy();
    const began = performance.now();
    // nobody was asked, so this says nothing about the place
    const comeBack = await gate.leave(leaving, signal).catch(() => {
      throw busy();
    });
    try {
      // what is left would not be enough for a fair try
      if (performance.now() - began > this.#limits.totalMilliseconds / 2) throw busy();
      const addresses = await unlessAborted(checkedAddresses(destination, resolve, refusesAddress), signal);
      const reply = await sendRequest(destination, addresses, outgoing, { limits: this.#limits, ca, signal });
      const { status } = reply;
      if (outgoing.method === 'GET' && status !== 200)
        throw new EgressFailed({ reason: 'status_refused', host, status });
      return reply;
    } finally {
      comeBack();
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
  readonly gate: ConcurrencyLimit;
  readonly memory: ResponseCache;
  readonly underWay: Map<string, Promise<CachedAnswer>>;
}

function openLane(limits: Limits): Lane {
  return { gate: new ConcurrencyLimit(limits), memory: new ResponseCache(limits), underWay: new Map() };
}

function laneName({ vetted = false }: Cause): string {
  return vetted ? 'vetted' : 'strangers';
}

/** What works or fails as one: a path of a host (see circuit_breakers.ts). */
function placeOf(url: string): string {
  const parsed = URL.parse(url);
  return parsed ? `${parsed.origin}${parsed.pathname}` : '';
}

/** A look-up can't be called off; nobody waits for it any longer than for the rest. */
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
