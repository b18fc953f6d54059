/**
 * Parses JSON (RFC 8259) and refuses texts that two parsers could read differently: repeated members, deep nesting,
 * member names with a meaning in JavaScript, and characters that Postgres cannot store.
 */
import { invalid, type Refused } from '../base/refusal.ts';
import { jsonPointer } from '../base/violations.ts';

const LEVELS_AT_MOST = 16;
const FORBIDDEN_NAMES = new Set(['__proto__', 'constructor', 'prototype']);

const SPACE = /[ \t\n\r]*/y;
// oxlint-disable-next-line no-control-regex -- JSON forbids them unescaped
const STRING = /"[^"\\\u0000-\u001f]*(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\u0000-\u001f]*)*"/y;
const SCALAR = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null/y;

/**
 * Returns the value. Throws `Refused` with the character position of a syntax error, or the path of a refused member.
 */
export function parseJson(text: string): unknown {
  return new JsonReader(text).read();
}

class JsonReader {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  read(): unknown {
    const value = this.#value([]);
    this.#skipSpace();
    if (this.#at < this.#text.length) throw this.#malformed();
    return value;
  }

  #value(path: readonly string[]): unknown {
    if (path.length > LEVELS_AT_MOST)
      throw invalid(jsonPointer(path), `is nested more than ${LEVELS_AT_MOST} levels deep`);
    this.#skipSpace();
    if (this.#take('{')) return this.#members(path);
    if (this.#take('[')) return this.#items(path);
    if (this.#text[this.#at] === '"') return this.#string(path);
    const value: unknown = JSON.parse(this.#match(SCALAR));
    if (value === Infinity || value === -Infinity) throw invalid(jsonPointer(path), 'is a number that is too large');
    return value;
  }

  #members(path: readonly string[]): Record<string, unknown> {
    const object: Record<string, unknown> = {};
    this.#skipSpace();
    if (this.#take('}')) return object;
    do {
      this.#skipSpace();
      const name = this.#string(path);
      const here = [...path, name];
      if (FORBIDDEN_NAMES.has(name)) throw invalid(jsonPointer(here), 'is not an allowed member name');
      if (Object.hasOwn(object, name)) throw invalid(jsonPointer(here), 'is given twice');
      this.#skipSpace();
      if (!this.#take(':')) throw this.#malformed();
      object[name] = this.#value(here);
      this.#skipSpace();
    } while (this.#take(','));
    if (!this.#take('}')) throw this.#malformed();
    return object;
  }

  #items(path: readonly string[]): unknown[] {
    const items: unknown[] = [];
    this.#skipSpace();
    if (this.#take(']')) return items;
    do {
      items.push(this.#value([...path, String(items.length)]));
      this.#skipSpace();
    } while (this.#take(','));
    if (!this.#take(']')) throw this.#malformed();
    return items;
  }

  #string(path: readonly string[]): string {
    const text = JSON.parse(this.#match(STRING)) as string;
    if (!isStorable(text)) throw invalid(jsonPointer(path), 'contains a NUL character or an unpaired surrogate');
    return text;
  }

  #match(pattern: RegExp): string {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text)?.[0];
    if (found === undefined) throw this.#malformed();
    this.#at += found.length;
    return found;
  }

  #skipSpace(): void {
    this.#match(SPACE);
  }

  #take(character: string): boolean {
    if (this.#text[this.#at] !== character) return false;
    this.#at++;
    return true;
  }

  #malformed(): Refused {
    return invalid('', `is not valid JSON at character ${this.#at + 1}`);
  }
}

/** Postgres refuses U+0000 and unpaired surrogates, with an error of its own. */
export function isStorable(text: string): boolean {
  return !text.includes('\u0000') && text.isWellFormed();
}
