/**
 * Refresh tokens that contain their grant and expiry, with a MAC that only this server's nodes can make. A used refresh
 * token that is presented again must end its family (RFC 9700, 4.14.2), at any time until it would have expired.
 * Without the mark, each used token would need a row until then. With it, the server finds the family by its newest
 * token, so the database needs no more rows than there are families.
 */
import { createHmac, createSecretKey, type KeyObject } from 'node:crypto';
import type { Provider } from 'oidc-provider';
import { addSeconds, epochSeconds } from '../../base/clock.ts';
import { equalInConstantTime, sha256, type Digest } from '../../base/secret.ts';
import { internalsOf, type SavedToken } from '../provider/library_types.ts';

const GRANT_BYTES = 32;
const EXPIRY_BYTES = 4;
const MAC_BYTES = 16;
const MARK_CHARACTERS = Math.ceil(((GRANT_BYTES + EXPIRY_BYTES + MAC_BYTES) * 8) / 6);

/** Longer than any grace period. */
const USED_TOKENS_KEPT_SECONDS = 7_200;

export interface Family {
  /** The digest of the grant's id, as in the token rows. */
  readonly grantId: Digest;
  /** When this token expires, in epoch seconds. */
  readonly expiresAt: number;
}

export class RefreshTokenFamilies {
  readonly #key: KeyObject;

  /** `key` has 32 bytes and is the same on every node. */
  constructor(key: Buffer) {
    this.#key = createSecretKey(key);
  }

  /** Appends the mark to the random value. The mark's content is not secret: the digest of a grant's id, and a time. */
  mark(random: string, grantId: string, expiresAt: number): string {
    const expiry = Buffer.alloc(EXPIRY_BYTES);
    expiry.writeUInt32BE(expiresAt);
    const content = Buffer.concat([sha256(grantId), expiry]);
    return random + Buffer.concat([content, this.#mac(random, content)]).toString('base64url');
  }

  /** Parses the mark; `undefined` if no node of this server has made it. */
  read(value: string): Family | undefined {
    const written = value.slice(-MARK_CHARACTERS);
    const mark = Buffer.from(written, 'base64url');
    if (mark.length !== GRANT_BYTES + EXPIRY_BYTES + MAC_BYTES) return undefined;
    // the last character has unused bits: another spelling of them would be another value, which was never issued
    if (mark.toString('base64url') !== written) return undefined;
    const content = mark.subarray(0, -MAC_BYTES);
    const mac = this.#mac(value.slice(0, -MARK_CHARACTERS), content);
    if (!equalInConstantTime(mac, mark.subarray(-MAC_BYTES))) return undefined;
    return { grantId: content.subarray(0, GRANT_BYTES) as Digest, expiresAt: content.readUInt32BE(GRANT_BYTES) };
  }

  /**
   * Until when the row of a used token must be kept. With a mark this is short; `undefined` without one: the row is
   * kept until the token expires.
   */
  keptUntil(value: string, now: Date): Date | undefined {
    return this.read(value) && addSeconds(now, USED_TOKENS_KEPT_SECONDS);
  }

  #mac(random: string, content: Buffer): Buffer {
    return createHmac('sha256', this.#key).update(random).update(content).digest().subarray(0, MAC_BYTES);
  }
}

/** Adds the mark to every refresh token of the provider. */
export function markRefreshTokens(provider: Provider, families: RefreshTokenFamilies, clock: () => Date): void {
  const { prototype } = internalsOf(provider).RefreshToken;
  const { generateTokenId } = prototype;
  prototype.generateTokenId = function (this: SavedToken) {
    const random = generateTokenId.call(this);
    if (this.grantId === undefined) return random;
    return families.mark(random, this.grantId, epochSeconds(clock()) + this.remainingTTL);
  };
}
