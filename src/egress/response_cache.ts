/** Caches responses and failures for a while, so that clients can't use this server to flood another one. */
import { LRUCache } from 'lru-cache';
import { addSeconds } from '../base/clock.ts';
import type { EgressFailed } from './failure.ts';
import type { Limits } from './limits.ts';

/** The response to a GET (status 200). */
export interface CachedResponse {
  readonly contentType: string;
  readonly body: Buffer;
  /** The time of the request. The content is not older. */
  readonly fetchedAt: Date;
  readonly freshUntil: Date;
}

interface CachedFailure {
  readonly error: EgressFailed;
  readonly failedAt: Date;
  readonly until: Date;
}

export class ResponseCache {
  readonly #limits: Limits;
  readonly #answers: LRUCache<string, CachedResponse>;
  readonly #failures: LRUCache<string, CachedFailure>;

  constructor(limits: Limits) {
    this.#limits = limits;
    this.#answers = new LRUCache({
      max: limits.rememberedAnswers,
      maxSize: limits.rememberedBytes,
      sizeCalculation: ({ body }, url) => body.length + url.length + 1,
    });
    this.#failures = new LRUCache({ max: limits.rememberedFailures });
  }

  /** Returns a fresh response, or else a recent failure; none that is older than `fetchedSince`. */
  recall(url: string, now: Date, fetchedSince: Date | undefined): CachedResponse | EgressFailed | undefined {
    const answer = this.#answers.get(url);
    const newEnough = answer && (!fetchedSince || answer.fetchedAt >= fetchedSince);
    if (newEnough && now < answer.freshUntil) return answer;
    const failure = this.#failures.get(url);
    const failedSince = failure && (!fetchedSince || failure.failedAt >= fetchedSince);
    return failedSince && now < failure.until ? failure.error : undefined;
  }

  /** The last response, fresh or not, if it is still cached. */
  last(url: string): CachedResponse | undefined {
    return this.#answers.get(url);
  }

  keep(url: string, answer: CachedResponse): void {
    this.#answers.set(url, answer);
  }

  /** Caches a failure and keeps the last good response. `busy` and `resting` are not cached: no request was sent. */
  keepFailure(url: string, error: EgressFailed, now: Date): void {
    if (error.failure.reason === 'busy' || error.failure.reason === 'resting') return;
    this.#failures.set(url, { error, failedAt: now, until: addSeconds(now, this.#limits.failureReuseSeconds) });
  }

  /** Returns now plus `max-age` minus `Age` (RFC 9111, 4.2), within the limits; without `max-age`, the least limit. */
  freshUntil(now: Date, cacheControl = '', age = '0'): Date {
    const maxAge = Number(/(?:^|[\s,])max-age\s*=\s*"?(\d+)/i.exec(cacheControl)?.[1] ?? 0);
    const { reuseSecondsLeast, reuseSecondsMost } = this.#limits;
    const remaining = maxAge - (/^\d+$/.test(age) ? Number(age) : 0);
    return addSeconds(now, Math.min(Math.max(remaining, reuseSecondsLeast), reuseSecondsMost));
  }
}
