/**
 * JSON (RFC 8259) without what two readers could read in two ways: no member twice, nothing nested out of all
 * proportion, no name that means something to JavaScript, no text that Postgres can't store.
 */
import { invalid, type Refused } from '../base/refusal.ts';
import { jsonPointer } from '../base/violations.ts';

const DEEPEST = 16;
const FORBIDDEN_NAMES = new Set(['__proto__', 'constructor', 'prototype']);

const SPACE = /[ \t\n\r]*/y;
// oxlint-disable-next-line no-control-regex -- JSON forbids them unescaped
const STRING = /"[^"\\\u0000-\u001f]*(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\u0000-\u001f]*)*"/y;
const SCALAR = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null/y;

/** Throws `Refused` that names the place: where the text breaks off, or the member that can't be taken. */
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
    if (path.length > DEEPEST) throw invalid(jsonPointer(path), `is nested more than ${DEEPEST} levels deep`);
    this.#skipSpace();
    if (this.#take('{')) return this.#members(path);
    if (this.#take('[')) return this.#items(path);
    if (this.#text[this.#at] === '"') return this.#string(path);
    const value: unknown = JSON.parse(this.#match(SCALAR));
    if (value === Infinity || value === -Infinity) throw invalid(jsonPointer(path), 'is too large a number');
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
      if (FORBIDDEN_NAMES.has(name)) throw invalid(jsonPointer(here), 'is not a name that a member may have');
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
    if (!isStorable(text)) throw invalid(jsonPointer(path), 'contains a NUL character or half a surrogate pair');
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
    return invalid('', `is not JSON: it breaks off at character ${this.#at + 1}`);
  }
}

/** Postgres takes neither U+0000 nor half a surrogate pair, and would answer with an error of its own. */
export function isStorable(text: string): boolean {
  return !text.includes('\u0000') && text.isWellFormed();
}
