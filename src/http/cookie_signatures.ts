/**
 * Signatures of cookies, with HMAC-SHA-256, in the form in which the `cookies` package takes its keys. The versions before
 * signed with SHA-1: while one of their nodes may run beside this one cookies are signed as they do it, and for as long
 * after that as a session lasts unused such a signature is still taken, so that an upgrade logs no person out.
 */
import { createHmac, createSecretKey, type KeyObject } from 'node:crypto';
import type { Clock } from '../base/clock.ts';
import { equalInConstantTime } from '../base/secret.ts';

export interface CookieSignaturesSettings {
  /** 32 bytes; the same on every node. */
  readonly key: Buffer;
  /** What older versions sign with, with SHA-1. */
  readonly formerKey: string;
  readonly sha256From: Date;
  readonly sha1Until: Date;
  readonly clock: Clock;
}

export class CookieSignatures {
  readonly #settings: CookieSignaturesSettings;
  /** Node takes longer to make one of these for each signature than to sign. */
  readonly #key: KeyObject;
  readonly #formerKey: KeyObject;

  constructor(settings: CookieSignaturesSettings) {
    this.#settings = settings;
    this.#key = createSecretKey(settings.key);
    this.#formerKey = createSecretKey(settings.formerKey, 'utf8');
  }

  sign(data: string): string {
    return this.#settings.clock() < this.#settings.sha256From ? this.#former(data) : this.#current(data);
  }

  verify(data: string, signature: string): boolean {
    const { clock, sha1Until } = this.#settings;
    const is = (other: string): boolean => equalInConstantTime(Buffer.from(signature), Buffer.from(other));
    return is(this.#current(data)) || (clock() < sha1Until && is(this.#former(data)));
  }

  /**
   * Which key has signed. Never more than 0, upon which the package would replace the signature by one that ends with the
   * browser: the library sets cookie and signature together when it saves the session.
   */
  index(data: string, signature: string): number {
    return this.verify(data, signature) ? 0 : -1;
  }

  #current(data: string): string {
    return createHmac('sha256', this.#key).update(data).digest('base64url');
  }

  #former(data: string): string {
    return createHmac('sha1', this.#formerKey).update(data).digest('base64url');
  }
}
