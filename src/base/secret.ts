/** A value that must never be printed: logs, templates and JSON show `[secret]`. */
import { createHash, timingSafeEqual } from 'node:crypto';
import { inspect } from 'node:util';

export class Secret {
  readonly #value: string;

  constructor(value: string) {
    this.#value = value;
  }

  /** Returns the value. Each call is a place where a secret leaves the server on purpose. */
  reveal(): string {
    return this.#value;
  }

  /** Returns a secret that has this one inside, such as a URL. */
  map(wrap: (value: string) => string): Secret {
    return new Secret(wrap(this.#value));
  }

  toString(): string {
    return '[secret]';
  }

  toJSON(): string {
    return '[secret]';
  }

  [inspect.custom](): string {
    return '[secret]';
  }
}

declare const digestOf: unique symbol;
/**
 * The digest that is stored instead of a bearer value. A branded type, so that a raw value can't be stored by mistake.
 */
export type Digest = Buffer & { readonly [digestOf]: true };

/** SHA-256 of a value with at least 128 random bits; not for passwords (see password_hashing/argon2id.ts). */
export function sha256(value: string): Digest {
  return createHash('sha256').update(value).digest() as Digest;
}

/** Compares in a time that does not depend on the position of the difference. Different lengths are unequal. */
export function equalInConstantTime(a: Buffer, b: Buffer): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}
