/**
 * Token buckets, one for each key, in this process's memory: what a node allows is not what all nodes together allow.
 * The processes of one node tell one another what was taken (worker_sync.ts).
 * A bucket fills at a steady rate and holds a burst. Buckets that nobody has taken from lately are full, and full ones
 * need not be remembered: the least recently used are forgotten.
 */
import { LRUCache } from 'lru-cache';
import type { Quota } from '../base/quota.ts';
import type { WorkerSync } from './worker_sync.ts';

export interface BucketSettings {
  /** How many requests a bucket gains in a second. */
  readonly perSecond: number;
  /** How many it holds at most. */
  readonly burst: number;
}

export type Taken =
  | { readonly admitted: true }
  | {
      readonly admitted: false;
      readonly retryAfterSeconds: number;
      /** Whether this is the first refusal since the bucket was last half full: the one that is worth a record. */
      readonly first: boolean;
    };

/** What is left of a limit. */
export interface Remaining {
  readonly quota: Quota;
  readonly left: number;
  /** For so many seconds it is no more. */
  readonly seconds: number;
}

interface Bucket {
  level: number;
  /** In milliseconds, by a clock that only goes forward. */
  at: number;
  refusing: boolean;
  /** What was taken here and the other processes haven't heard of. */
  untold: number;
}

const BUCKETS_AT_MOST = 50_000;
/** Of a burst: what may be taken before the others hear of it, in all processes together. */
const UNTOLD_SHARE = 1 / 16;
const ADMITTED: Taken = { admitted: true };

export class TokenBuckets {
  /** What a bucket holds, and in how long an empty one is full again. */
  readonly quota: Quota;
  readonly #settings: BucketSettings;
  readonly #buckets = new LRUCache<string, Bucket>({ max: BUCKETS_AT_MOST });

  readonly #others: WorkerSync | undefined;
  readonly #untoldAtMost: number;

  /** `name` is the limit's, for those who are told of it. */
  constructor(name: string, settings: BucketSettings, others?: WorkerSync) {
    const { perSecond, burst } = settings;
    this.#settings = settings;
    this.#others = others;
    this.#untoldAtMost = Math.max(1, Math.floor((burst * UNTOLD_SHARE) / (others?.workers ?? 1)));
    others?.onTold(name, (key, count) => {
      const bucket = this.#bucket(key, performance.now());
      bucket.level = Math.max(-burst, Math.min(burst, bucket.level - count));
    });
    this.quota = { name, requests: burst, windowSeconds: Math.max(1, Math.ceil(burst / perSecond)) };
  }

  /** Takes one request from the key's bucket. `nowMilliseconds` is of `performance.now()`. */
  take(key: string, nowMilliseconds: number): Taken {
    const bucket = this.#bucket(key, nowMilliseconds);
    if (bucket.level < 1) return this.#refuse(bucket);
    // a bucket that is emptied as fast as it fills is one row of refusals
    if (bucket.level * 2 >= this.#settings.burst) bucket.refusing = false;
    bucket.level -= 1;
    this.#count(key, bucket, 1);
    return ADMITTED;
  }

  /** Takes one for what was done already: where there was none left, from what will flow in. */
  pay(key: string, nowMilliseconds: number): void {
    const bucket = this.#bucket(key, nowMilliseconds);
    // no deeper than it is high: it must not take for ever
    const taken = Math.min(1, bucket.level + this.#settings.burst);
    bucket.level -= taken;
    this.#count(key, bucket, taken);
  }

  /** What `take` would say, without taking. */
  look(key: string, nowMilliseconds: number): Taken {
    const bucket = this.#bucket(key, nowMilliseconds);
    return bucket.level < 1 ? this.#refuse(bucket) : ADMITTED;
  }

  /** What one who was refused is told again, without another look at anything; the first refusal must be `take`'s or `look`'s. */
  refuseAgain(key: string, nowMilliseconds: number): Taken {
    return this.#buckets.get(key)?.refusing ? this.look(key, nowMilliseconds) : ADMITTED;
  }

  /** Puts one back that was taken for somebody else's account. */
  giveBack(key: string): void {
    const bucket = this.#buckets.get(key);
    if (!bucket) return;
    bucket.level = Math.min(this.#settings.burst, bucket.level + 1);
    this.#count(key, bucket, -1);
  }

  /** What is left in a bucket from which more than half was taken; `undefined` for one that holds more. */
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
      bucket = { level: burst, at: now, refusing: false, untold: 0 };
      this.#buckets.set(key, bucket);
    }
    bucket.level = Math.min(burst, bucket.level + ((now - bucket.at) / 1000) * perSecond);
    bucket.at = now;
    return bucket;
  }

  /** Tells the others, if it is worth a message: of what has flowed back meanwhile they need never hear. */
  #count(key: string, bucket: Bucket, taken: number): void {
    if (!this.#others) return;
    bucket.untold = Math.min(bucket.untold + taken, this.#settings.burst - bucket.level);
    if (Math.abs(bucket.untold) < this.#untoldAtMost) return;
    this.#others.tell(this.quota.name, key, Math.round(bucket.untold));
    bucket.untold = 0;
  }

  #refuse(bucket: Bucket): Taken {
    const first = !bucket.refusing;
    bucket.refusing = true;
    const retryAfterSeconds = Math.max(1, Math.ceil((1 - bucket.level) / this.#settings.perSecond));
    return { admitted: false, first, retryAfterSeconds };
  }
}
