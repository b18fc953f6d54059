/** What was fetched, and what could not be: reused for a while, so that nobody can be hammered through this server. */
import { LRUCache } from 'lru-cache';
import { addSeconds } from '../base/clock.ts';
import type { EgressFailed } from './failure.ts';
import type { Limits } from './limits.ts';

/** What a GET brought (status 200). */
export interface CachedAnswer {
  readonly contentType: string;
  readonly body: Buffer;
  /** When it was asked for: it is at least as new as this. */
  readonly fetchedAt: Date;
  readonly freshUntil: Date;
}

interface RememberedFailure {
  readonly error: EgressFailed;
  readonly until: Date;
}

export class ResponseCache {
  readonly #limits: Limits;
  readonly #answers: LRUCache<string, CachedAnswer>;
  readonly #failures: LRUCache<string, RememberedFailure>;

  constructor(limits: Limits) {
    this.#limits = limits;
    this.#answers = new LRUCache({
      max: limits.rememberedAnswers,
      maxSize: limits.rememberedBytes,
      sizeCalculation: ({ body }, url) => body.length + url.length + 1,
    });
    this.#failures = new LRUCache({ max: limits.rememberedFailures });
  }

  /** An answer that is fresh and, where that is asked, was fetched since then; else the failure of a moment ago. */
  recall(url: string, now: Date, fetchedSince: Date | undefined): CachedAnswer | EgressFailed | undefined {
    const answer = this.#answers.get(url);
    const newEnough = answer && (!fetchedSince || answer.fetchedAt >= fetchedSince);
    if (newEnough && now < answer.freshUntil) return answer;
    const failure = this.#failures.get(url);
    return failure && now < failure.until ? failure.error : undefined;
  }

  /** The last answer, fresh or not, if there still is one. */
  last(url: string): CachedAnswer | undefined {
    return this.#answers.get(url);
  }

  keep(url: string, answer: CachedAnswer): void {
    this.#answers.set(url, answer);
  }

  /** A failure leaves the last good answer in its place. That nobody was asked says nothing about the URL. */
  keepFailure(url: string, error: EgressFailed, now: Date): void {
    if (error.failure.reason === 'busy' || error.failure.reason === 'resting') return;
    this.#failures.set(url, { error, until: addSeconds(now, this.#limits.failureReuseSeconds) });
  }

  /** `max-age` less `Age` (RFC 9111, 4.2), within the limits; without one, the least. */
  freshUntil(now: Date, cacheControl = '', age = '0'): Date {
    const maxAge = Number(/(?:^|[\s,])max-age\s*=\s*"?(\d+)/i.exec(cacheControl)?.[1] ?? 0);
    const { reuseSecondsLeast, reuseSecondsMost } = this.#limits;
    const remaining = maxAge - (/^\d+$/.test(age) ? Number(age) : 0);
    return addSeconds(now, Math.min(Math.max(remaining, reuseSecondsLeast), reuseSecondsMost));
  }
}
