/**
 * Token buckets in this process's memory, one for each key. A limit is for each node, not for all nodes together; the
 * processes of one node share it (worker_sync.ts). A bucket fills at a steady rate up to its burst. An unused bucket is
 * full and need not be remembered, so the least recently used ones are dropped.
 */
import { LRUCache } from 'lru-cache';
import type { Quota } from '../base/quota.ts';
import type { WorkerSync } from './worker_sync.ts';

export interface BucketSettings {
  /** The requests that a bucket gains each second. */
  readonly perSecond: number;
  /** The maximum number of requests in a bucket. */
  readonly burst: number;
}

export type BucketResult =
  | { readonly admitted: true }
  | {
      readonly admitted: false;
      readonly retryAfterSeconds: number;
      /** Whether this is the first refusal since the bucket was last half full: only that one is recorded. */
      readonly first: boolean;
    };

/** The rest of a limit. */
export interface Remaining {
  readonly quota: Quota;
  readonly left: number;
  /** The number of seconds after which it may be more. */
  readonly seconds: number;
}

interface Bucket {
  level: number;
  /** In milliseconds, of a monotonic clock. */
  at: number;
  refusing: boolean;
  /** The requests taken here that the other processes do not know of. */
  unreported: number;
}

const BUCKETS_AT_MOST = 50_000;
/** The share of a burst that all processes together may take before the others know of it. */
const UNREPORTED_SHARE = 1 / 16;
const ADMITTED: BucketResult = { admitted: true };

export class TokenBuckets {
  /** The burst of a bucket, and the time to fill an empty one. */
  readonly quota: Quota;
  readonly #settings: BucketSettings;
  readonly #buckets = new LRUCache<string, Bucket>({ max: BUCKETS_AT_MOST });

  readonly #others: WorkerSync | undefined;
  readonly #unreportedAtMost: number;

  /** `name` is the limit's name in responses. */
  constructor(name: string, settings: BucketSettings, others?: WorkerSync) {
    const { perSecond, burst } = settings;
    this.#settings = settings;
    this.#others = others;
    this.#unreportedAtMost = Math.max(1, Math.floor((burst * UNREPORTED_SHARE) / (others?.workers ?? 1)));
    others?.onReport(name, (key, count) => {
      const bucket = this.#bucket(key, performance.now());
      bucket.level = Math.max(-burst, Math.min(burst, bucket.level - count));
    });
    this.quota = { name, requests: burst, windowSeconds: Math.max(1, Math.ceil(burst / perSecond)) };
  }

  /** Takes one request from the key's bucket. `nowMilliseconds` is a time of `performance.now()`. */
  take(key: string, nowMilliseconds: number): BucketResult {
    const bucket = this.#bucket(key, nowMilliseconds);
    if (bucket.level < 1) return this.#refuse(bucket);
    // a bucket that empties as fast as it fills causes one series of refusals
    if (bucket.level * 2 >= this.#settings.burst) bucket.refusing = false;
    bucket.level -= 1;
    this.#count(key, bucket, 1);
    return ADMITTED;
  }

  /** Takes one for a request that was served already; the level may become negative. */
  pay(key: string, nowMilliseconds: number): void {
    const bucket = this.#bucket(key, nowMilliseconds);
    // at most one burst below zero, so that the debt has a limit
    const taken = Math.min(1, bucket.level + this.#settings.burst);
    bucket.level -= taken;
    this.#count(key, bucket, taken);
  }

  /** The result of `take`, without taking. */
  look(key: string, nowMilliseconds: number): BucketResult {
    const bucket = this.#bucket(key, nowMilliseconds);
    return bucket.level < 1 ? this.#refuse(bucket) : ADMITTED;
  }

  /** The result for a request that was refused before; a first refusal must come from `take` or `look`. */
  refuseAgain(key: string, nowMilliseconds: number): BucketResult {
    return this.#buckets.get(key)?.refusing ? this.look(key, nowMilliseconds) : ADMITTED;
  }

  /** Returns one request that another bucket pays for. */
  giveBack(key: string): void {
    const bucket = this.#buckets.get(key);
    if (!bucket) return;
    bucket.level = Math.min(this.#settings.burst, bucket.level + 1);
    this.#count(key, bucket, -1);
  }

  /** The rest of a bucket from which more than half was taken; `undefined` if it holds more. */
  low(key: string): Remaining | undefined {
    const { perSecond, burst } = this.#settings;
    const level = this.#buckets.get(key)?.level ?? burst;
    if (level * 2 >= burst) return undefined;
    return { quota: this.quota, left: Math.max(0, Math.floor(level)), seconds: Math.max(1, Math.ceil(1 / perSecond)) };
  }

  /** The key's bucket, filled up to now. */
  #bucket(key: string, now: number): Bucket {
    const { perSecond, burst } = this.#settings;
    let bucket = this.#buckets.get(key);
    if (!bucket) {
      bucket = { level: burst, at: now, refusing: false, unreported: 0 };
      this.#buckets.set(key, bucket);
    }
    bucket.level = Math.min(burst, bucket.level + ((now - bucket.at) / 1000) * perSecond);
    bucket.at = now;
    return bucket;
  }

  /**
   * Sends the count to the other processes once it is large enough. Requests that the bucket has regained need no
   * message.
   */
  #count(key: string, bucket: Bucket, taken: number): void {
    if (!this.#others) return;
    bucket.unreported = Math.min(bucket.unreported + taken, this.#settings.burst - bucket.level);
    if (Math.abs(bucket.unreported) < this.#unreportedAtMost) return;
    this.#others.report(this.quota.name, key, Math.round(bucket.unreported));
    bucket.unreported = 0;
  }

  #refuse(bucket: Bucket): BucketResult {
    const first = !bucket.refusing;
    bucket.refusing = true;
    const retryAfterSeconds = Math.max(1, Math.ceil((1 - bucket.level) / this.#settings.perSecond));
    return { admitted: false, first, retryAfterSeconds };
  }
}
