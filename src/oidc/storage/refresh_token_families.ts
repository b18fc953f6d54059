/**
 * Refresh tokens that say where they come from, under a mac that only our nodes can make: which grant, and until when
 * they live. A refresh token that was used must end its family if it comes back (RFC 9700, 4.14.2), and it may come
 * back for as long as it would have lived. Without the mark a row would have to wait for it all that time, one for each
 * use; with it the family is found by the newest of its tokens, and the database holds no more than there are families.
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

/** Longer than any grace. */
const USED_TOKENS_KEPT_SECONDS = 7_200;

export interface Family {
  /** As its tokens' rows name it. */
  readonly grantId: Digest;
  /** When the token that said so expires, in epoch seconds. */
  readonly expiresAt: number;
}

export class RefreshTokenFamilies {
  readonly #key: KeyObject;

  /** 32 bytes; the same on every node. */
  constructor(key: Buffer) {
    this.#key = createSecretKey(key);
  }

  /** The value with its mark behind it. What the mark says is no secret: the digest of a grant's id, and a time. */
  mark(random: string, grantId: string, expiresAt: number): string {
    const expiry = Buffer.alloc(EXPIRY_BYTES);
    expiry.writeUInt32BE(expiresAt);
    const says = Buffer.concat([sha256(grantId), expiry]);
    return random + Buffer.concat([says, this.#mac(random, says)]).toString('base64url');
  }

  /** `undefined` for what none of our nodes has made. */
  read(value: string): Family | undefined {
    const written = value.slice(-MARK_CHARACTERS);
    const mark = Buffer.from(written, 'base64url');
    if (mark.length !== GRANT_BYTES + EXPIRY_BYTES + MAC_BYTES) return undefined;
    // the last letter has bits to spare: written in another way it is another value, which nobody was given
    if (mark.toString('base64url') !== written) return undefined;
    const says = mark.subarray(0, -MAC_BYTES);
    const mac = this.#mac(value.slice(0, -MARK_CHARACTERS), says);
    if (!equalInConstantTime(mac, mark.subarray(-MAC_BYTES))) return undefined;
    return { grantId: says.subarray(0, GRANT_BYTES) as Digest, expiresAt: says.readUInt32BE(GRANT_BYTES) };
  }

  /**
   * When the row of a token that is used now need not be there any more, for the token says what it would;
   * `undefined`: it is needed for as long as the token lives.
   */
  keptUntil(value: string, now: Date): Date | undefined {
    return this.read(value) && addSeconds(now, USED_TOKENS_KEPT_SECONDS);
  }

  #mac(random: string, says: Buffer): Buffer {
    return createHmac('sha256', this.#key).update(random).update(says).digest().subarray(0, MAC_BYTES);
  }
}

/** Makes every refresh token of the provider carry its mark. */
export function markRefreshTokens(provider: Provider, families: RefreshTokenFamilies, clock: () => Date): void {
  const { prototype } = internalsOf(provider).RefreshToken;
  const { generateTokenId } = prototype;
  prototype.generateTokenId = function (this: SavedToken) {
    const random = generateTokenId.call(this);
    if (this.grantId === undefined) return random;
    return families.mark(random, this.grantId, epochSeconds(clock()) + this.remainingTTL);
  };
}
