/** Verifies JWT access tokens (RFC 9068) that this server signed. Whether a token was revoked since is not its business. */
import { hash, type KeyObject } from 'node:crypto';
import { errors, jwtVerify, type JWTPayload } from 'jose';
import { LRUCache } from 'lru-cache';
import { epochSeconds } from '../base/clock.ts';
import type { KeyRing } from './key_ring.ts';

/** The claims of an access token that this server made. */
export interface AccessTokenClaims extends JWTPayload {
  readonly iss: string;
  readonly sub: string;
  readonly aud: string;
  readonly exp: number;
  readonly iat: number;
  readonly jti: string;
  readonly client_id: string;
  readonly scope?: string;
  /** The client's token generation at the time of issue; see oidc/access_tokens.ts. */
  readonly gen: number;
  /** The grant that the token came from, where a person gave one. */
  readonly gid?: string;
  /** The key or the certificate that the token is bound to (RFC 9449, 6.1; RFC 8705, 3.1). */
  readonly cnf?: { readonly jkt?: string; readonly 'x5t#S256'?: string };
  /** Who acts for the subject (RFC 8693, 4.1). */
  readonly act?: Act;
  /** A subject that is no account of ours (RFC 9493, 3.2.4). */
  readonly sub_id?: { readonly format: 'iss_sub'; readonly iss: string; readonly sub: string };
  /** The trusted issuer on whose word the token was made. */
  readonly asserted_by?: string;
  /** The tokens that this one was made from: it is dead as soon as one of them is. */
  readonly parents?: readonly ParentToken[];
}

/** Who acts, and inside it who acted before: the newest is outermost. */
export interface Act {
  readonly sub: string;
  readonly act?: Act;
}

/** What says whether a token still stands; see oidc/access_tokens.ts. */
export interface ParentToken {
  readonly jti: string;
  readonly client_id: string;
  readonly gen: number;
  readonly gid?: string;
  readonly asserted_by?: string;
}

/** Far longer than any token of ours: a bound on what is worth parsing. */
const LONGEST_TOKEN_CHARACTERS = 65_536;

/** Of all tokens that are remembered, together. */
const REMEMBERED_CHARACTERS = 4_000_000;

/** A token whose signature was found good, and with which key. */
interface Verified {
  readonly kid: string;
  readonly key: KeyObject;
  readonly claims: AccessTokenClaims;
}

export class TokenVerifier {
  readonly #ring: KeyRing;
  readonly #issuer: string;
  /** By digest. Resource servers ask about the same tokens again and again, and to verify one costs more than all else. */
  readonly #verified = new LRUCache<string, Verified>({ maxSize: REMEMBERED_CHARACTERS });

  constructor(ring: KeyRing, issuer: string) {
    this.#ring = ring;
    this.#issuer = issuer;
  }

  /** The claims, or `undefined` for whatever is not an unexpired access token of ours under a key in force. */
  async verify(token: string, now: Date): Promise<AccessTokenClaims | undefined> {
    if (token.length > LONGEST_TOKEN_CHARACTERS) return undefined;
    const digest = hash('sha256', token, 'base64');
    const remembered = this.#verified.get(digest);
    const verified = remembered && this.#isInForce(remembered) ? remembered : await this.#verify(token, now);
    if (!verified || isExpired(verified.claims, now)) return undefined;
    if (verified !== remembered) this.#verified.set(digest, verified, { size: token.length });
    return verified.claims;
  }

  /** A key that was taken away takes its tokens along. */
  #isInForce({ kid, key }: Verified): boolean {
    return this.#ring.publicKey(kid)?.key === key;
  }

  async #verify(token: string, now: Date): Promise<Verified | undefined> {
    let by: Pick<Verified, 'kid' | 'key'> | undefined;
    try {
      const { payload } = await jwtVerify(
        token,
        ({ kid, alg }) => {
          const found = kid === undefined ? undefined : this.#ring.publicKey(kid);
          if (!found || found.alg !== alg) throw new errors.JWKSNoMatchingKey();
          by = { kid: kid!, key: found.key };
          return found.key;
        },
        {
          issuer: this.#issuer,
          typ: 'at+jwt',
          currentDate: now,
          requiredClaims: ['exp', 'iat', 'jti', 'sub', 'aud', 'client_id', 'gen'],
        },
      );
      return by && { ...by, claims: payload as AccessTokenClaims };
    } catch (error) {
      if (error instanceof errors.JOSEError || error instanceof TypeError) return undefined;
      throw error;
    }
  }
}

function isExpired({ exp }: JWTPayload, now: Date): boolean {
  return exp === undefined || exp <= epochSeconds(now);
}
