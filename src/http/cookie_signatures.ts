/**
 * Signs cookies with HMAC-SHA-256, as the key object that the `cookies` package expects. Earlier versions signed with
 * SHA-1. This version also signs with SHA-1 while an old node may run beside it, and accepts SHA-1 signatures until
 * every session from that time has expired, so that an upgrade logs no person out.
 */
import { createHmac, createSecretKey, type KeyObject } from 'node:crypto';
import type { Clock } from '../base/clock.ts';
import { equalInConstantTime } from '../base/secret.ts';

export interface CookieSignaturesSettings {
  /** 32 bytes; the same on every node. */
  readonly key: Buffer;
  /** The key of earlier versions, used with SHA-1. */
  readonly formerKey: string;
  readonly sha256From: Date;
  readonly sha1Until: Date;
  readonly clock: Clock;
}

export class CookieSignatures {
  readonly #settings: CookieSignaturesSettings;
  /** Kept, because Node takes longer to create a key object than to sign. */
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
   * Returns 0 for a valid signature and -1 otherwise. For a higher index the package would replace the signature cookie
   * by one that ends with the browser session; oidc-provider sets both cookies together when it saves the session.
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
