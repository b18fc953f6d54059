/** Values that many things have alike, each kept in memory once: most clients have the same grant types. */
import { LRUCache } from 'lru-cache';

const AT_MOST = 2_000;
const LONGEST_CHARACTERS = 1_000;

/** For plain data that nobody changes. */
export class SharedValues {
  readonly #byText = new LRUCache<string, object>({ max: AT_MOST });

  /** The same value, or one that was given before and is equal to it. */
  share<T>(value: T): T {
    if (typeof value !== 'object' || value === null) return value;
    const text = JSON.stringify(value);
    if (text.length > LONGEST_CHARACTERS) return value;
    const known = this.#byText.get(text);
    if (!known) this.#byText.set(text, value);
    return (known as T | undefined) ?? value;
  }
}
