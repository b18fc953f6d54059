/**
 * The one guarded way out for URLs that clients supply. A client may be anybody, and this server stands where the
 * outside does not reach: what is fetched here must be on the public internet, or be named by the operator. The name
 * is looked up once, every address is checked, and the connection goes to what was checked; redirects, encodings and
 * more than a small body are refused; and one URL is asked for so seldom that nobody can be hammered through us.
 */
import type { Clock } from '../base/clock.ts';
import type { Logger } from '../log.ts';
import { checkedAddresses, isSpecialAddress, type RefusesAddress, type Resolve } from './addresses.ts';
import { destinationOf, type Destination, type Rules } from './destination.ts';
import { exchange, type Outgoing, type Reply } from './exchange.ts';
import { EgressFailed } from './failure.ts';
import { Gate } from './gate.ts';
import { LIMITS, type Limits } from './limits.ts';
import { Memory, type Answer } from './memory.ts';
import { Places } from './places.ts';

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

export interface GetOptions {
  /** An answer that was fetched before this will not do, however fresh it says it is. */
  readonly fetchedSince?: Date;
}

export class Egress {
  readonly #settings: EgressSettings;
  readonly #rules: Rules;
  readonly #limits: Limits;
  readonly #gate: Gate;
  readonly #memory: Memory;
  readonly #places: Places;
  readonly #underWay = new Map<string, Promise<Answer>>();

  constructor(settings: EgressSettings) {
    this.#settings = settings;
    this.#rules = { allow: settings.allow, ports: settings.ports ?? [443] };
    this.#limits = { ...LIMITS, ...settings.limits };
    this.#gate = new Gate(this.#limits);
    this.#memory = new Memory(this.#limits);
    this.#places = new Places(this.#limits);
  }

  /** Fetches a JSON document, or reuses what it fetched; throws `EgressFailed`. Nothing but a 200 is an answer. */
  async get(url: string, { fetchedSince }: GetOptions = {}): Promise<Answer> {
    const now = this.#settings.clock();
    const known = this.#memory.recall(url, now, fetchedSince);
    if (known instanceof EgressFailed) throw known;
    if (known) return known;
    const underWay = this.#underWay.get(url);
    if (underWay) return underWay;
    const fetching = this.#fetch(url, now).finally(() => this.#underWay.delete(url));
    this.#underWay.set(url, fetching);
    return fetching;
  }

  /** What `get` brought last, however long ago; for those who would rather have that than a failure. */
  last(url: string): Answer | undefined {
    return this.#memory.last(url);
  }

  /** Sends a body; throws `EgressFailed`. Any answer but a redirect is the caller's to judge, and none is reused. */
  post(url: string, headers: Readonly<Record<string, string>>, body: string): Promise<Reply> {
    return this.#send(url, { method: 'POST', headers, body });
  }

  /** How many of the places that were asked lately answer, rest, or are being tried again. */
  get places(): Places['states'] {
    return this.#places.states;
  }

  async #fetch(url: string, now: Date): Promise<Answer> {
    try {
      const reply = await this.#send(url, { method: 'GET', headers: { accept: 'application/json' } });
      const { 'content-type': contentType = '', 'cache-control': cacheControl, age } = reply.headers;
      const freshUntil = this.#memory.freshUntil(now, cacheControl, age);
      const answer = { contentType, body: reply.body, fetchedAt: now, freshUntil };
      this.#memory.keep(url, answer);
      return answer;
    } catch (error) {
      if (error instanceof EgressFailed) this.#memory.keepFailure(url, error, now);
      throw error;
    }
  }

  async #send(url: string, outgoing: Outgoing): Promise<Reply> {
    const signal = AbortSignal.timeout(this.#limits.totalMilliseconds);
    try {
      const destination = destinationOf(url, this.#rules);
      return await this.#places.ask(destination.url, outgoing.method === 'GET', () =>
        this.#throughGate(destination, outgoing, signal).catch((error: unknown) => {
          throw this.#failureOf(error, destination.host, signal);
        }),
      );
    } catch (error) {
      const failed = this.#failureOf(error, URL.parse(url)?.host ?? '', signal);
      this.#settings.log.warn(failed.failure, 'egress.failed');
      throw failed;
    }
  }

  async #throughGate(destination: Destination, outgoing: Outgoing, signal: AbortSignal): Promise<Reply> {
    const { resolve, refusesAddress = isSpecialAddress, ca } = this.#settings;
    const { host } = destination;
    const busy = (): EgressFailed => new EgressFailed({ reason: 'busy', host });
    if (this.#gate.full(host)) throw busy();
    const began = performance.now();
    // nobody was asked, so this says nothing about the place
    const comeBack = await this.#gate.leave(host, signal).catch(() => {
      throw busy();
    });
    try {
      // what is left would not be enough for a fair try
      if (performance.now() - began > this.#limits.totalMilliseconds / 2) throw busy();
      const addresses = await unlessAborted(checkedAddresses(destination, resolve, refusesAddress), signal);
      const reply = await exchange(destination, addresses, outgoing, { limits: this.#limits, ca, signal });
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
