/**
 * Token buckets, one for each key, in this process's memory: what a node allows is not what all nodes together allow.
 * The processes of one node tell one another what was taken (shared.ts).
 * A bucket fills at a steady rate and holds a burst. Buckets that nobody has taken from lately are full, and full ones
 * need not be remembered: the least recently used are forgotten.
 */
import { LRUCache } from 'lru-cache';
import type { Others } from './shared.ts';

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
      /** Whether this is the first refusal since the bucket last gave something: the one that is worth a record. */
      readonly first: boolean;
    };

interface Bucket {
  level: number;
  /** In milliseconds, by a clock that only goes forward. */
  at: number;
  refusing: boolean;
  /** What was taken here and the other processes haven't heard of. */
  untold: number;
}

/** Which limit this is, for the other processes of the node. */
export interface SharedAs {
  readonly name: string;
  readonly others: Others;
}

const BUCKETS_AT_MOST = 50_000;
/** Of a burst: what may be taken before the others hear of it, in all processes together. */
const UNTOLD_SHARE = 1 / 16;
const ADMITTED: Taken = { admitted: true };

export class TokenBuckets {
  readonly #settings: BucketSettings;
  readonly #buckets = new LRUCache<string, Bucket>({ max: BUCKETS_AT_MOST });

  readonly #shared: SharedAs | undefined;
  readonly #untoldAtMost: number;

  constructor(settings: BucketSettings, shared?: SharedAs) {
    this.#settings = settings;
    this.#shared = shared;
    this.#untoldAtMost = Math.max(1, Math.floor((settings.burst * UNTOLD_SHARE) / (shared?.others.workers ?? 1)));
    shared?.others.onTold(shared.name, (key, count) => {
      const bucket = this.#bucket(key, performance.now());
      bucket.level = Math.min(settings.burst, bucket.level - count);
    });
  }

  /** Takes one request from the key's bucket. `nowMilliseconds` is of `performance.now()`. */
  take(key: string, nowMilliseconds: number): Taken {
    const bucket = this.#bucket(key, nowMilliseconds);
    if (bucket.level < 1) return this.#refuse(bucket);
    bucket.level -= 1;
    bucket.refusing = false;
    this.#count(key, bucket, 1);
    return ADMITTED;
  }

  /** What `take` would say, without taking. */
  look(key: string, nowMilliseconds: number): Taken {
    const bucket = this.#bucket(key, nowMilliseconds);
    return bucket.level < 1 ? this.#refuse(bucket) : ADMITTED;
  }

  /** Puts one back that was taken for somebody else's account. */
  giveBack(key: string): void {
    const bucket = this.#buckets.get(key);
    if (!bucket) return;
    bucket.level = Math.min(this.#settings.burst, bucket.level + 1);
    this.#count(key, bucket, -1);
  }

  /** For `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers): what a bucket holds, and in how long it is full. */
  get policy(): string {
    const { perSecond, burst } = this.#settings;
    return `q=${burst};w=${Math.max(1, Math.ceil(burst / perSecond))}`;
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
    if (!this.#shared) return;
    bucket.untold = Math.min(bucket.untold + taken, this.#settings.burst - bucket.level);
    if (Math.abs(bucket.untold) < this.#untoldAtMost) return;
    this.#shared.others.tell(this.#shared.name, key, Math.round(bucket.untold));
    bucket.untold = 0;
  }

  #refuse(bucket: Bucket): Taken {
    const first = !bucket.refusing;
    bucket.refusing = true;
    const retryAfterSeconds = Math.max(1, Math.ceil((1 - bucket.level) / this.#settings.perSecond));
    return { admitted: false, first, retryAfterSeconds };
  }
}
