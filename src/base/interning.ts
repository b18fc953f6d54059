/** Keeps equal lists in memory once: most clients have the same grant types. */
import { LRUCache } from 'lru-cache';

const AT_MOST = 2_000;
const LONGEST_CHARACTERS = 1_000;

/** For lists of plain data that are never changed. */
export class InternedLists {
  readonly #byText = new LRUCache<string, readonly unknown[]>({ max: AT_MOST });

  /** Returns the value, or an equal list that was given before. */
  share<T>(value: T): T {
    if (!Array.isArray(value)) return value;
    const text = JSON.stringify(value);
    if (text.length > LONGEST_CHARACTERS) return value;
    const known = this.#byText.get(text);
    if (known) return known as T;
    this.#byText.set(text, value);
    return value;
  }
}
