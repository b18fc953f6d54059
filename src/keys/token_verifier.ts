/** Verifies JWT access tokens (RFC 9068) of this server. Does not check revocation. */
import { hash, type KeyObject } from 'node:crypto';
import { errors, jwtVerify, type JWTPayload } from 'jose';
import { LRUCache } from 'lru-cache';
import { epochSeconds } from '../base/clock.ts';
import type { KeyRing } from './key_ring.ts';

/** The claims of an access token of this server. */
export interface AccessTokenClaims extends JWTPayload {
  readonly iss: string;
  readonly sub: string;
  /** An API, or an API and userinfo. */
  readonly aud: string | string[];
  readonly exp: number;
  readonly iat: number;
  readonly jti: string;
  readonly client_id: string;
  readonly scope?: string;
  /** Single claims that the client asked for at userinfo (OpenID Connect Core, 5.5). */
  readonly userinfo_claims?: readonly string[];
  /** The client's token generation at the time of issue; see oidc/tokens/access_token_state.ts. */
  readonly gen: number;
  /** The grant of the token, if a person gave one. */
  readonly gid?: string;
  /** The key or certificate that the token is bound to (RFC 9449, 6.1; RFC 8705, 3.1). */
  readonly cnf?: { readonly jkt?: string; readonly 'x5t#S256'?: string };
  /** The actor for the subject (RFC 8693, 4.1). */
  readonly act?: Act;
  /** A subject without an account on this server (RFC 9493, 3.2.4). */
  readonly sub_id?: { readonly format: 'iss_sub'; readonly iss: string; readonly sub: string };
  /** The trusted issuer whose assertion the token is based on. */
  readonly asserted_by?: string;
  /** The tokens that this one was exchanged from: it becomes invalid as soon as one of them does. */
  readonly parents?: readonly ParentToken[];
}

/** The actor, and nested in it the earlier actors: the newest is outermost. */
export interface Act {
  readonly sub: string;
  readonly act?: Act;
}

/** The claims that determine whether a parent token is still valid; see oidc/tokens/access_token_state.ts. */
export interface ParentToken {
  readonly jti: string;
  readonly client_id: string;
  readonly gen: number;
  readonly gid?: string;
  readonly asserted_by?: string;
  /** Tokens that were exchanged by earlier releases do not have this and `iat` of their parents. */
  readonly aud?: string | string[];
  readonly iat?: number;
}

/** Much longer than any token of this server: longer texts are not parsed. */
const TOKEN_CHARACTERS_AT_MOST = 65_536;

/** Total length of all cached tokens. */
const CACHED_CHARACTERS_AT_MOST = 4_000_000;

/** A token with a valid signature, and the key that verified it. */
interface Verified {
  readonly kid: string;
  readonly key: KeyObject;
  readonly claims: AccessTokenClaims;
}

export class TokenVerifier {
  readonly #ring: KeyRing;
  readonly #issuer: string;
  /**
   * Verified tokens by digest. Resource servers send the same tokens repeatedly, and verification is the most expensive
   * part.
   */
  readonly #verified = new LRUCache<string, Verified>({ maxSize: CACHED_CHARACTERS_AT_MOST });

  constructor(ring: KeyRing, issuer: string) {
    this.#ring = ring;
    this.#issuer = issuer;
  }

  /**
   * Returns the claims; `undefined` unless the text is an unexpired access token of this server, signed with a key in
   * use.
   */
  async verify(token: string, now: Date): Promise<AccessTokenClaims | undefined> {
    if (token.length > TOKEN_CHARACTERS_AT_MOST) return undefined;
    const digest = hash('sha256', token, 'base64');
    const cached = this.#verified.get(digest);
    const verified = cached && this.#keyIsInUse(cached) ? cached : await this.#verify(token, now);
    if (!verified || isExpired(verified.claims, now)) return undefined;
    if (verified !== cached) this.#verified.set(digest, verified, { size: token.length });
    return verified.claims;
  }

  /** A removed key also invalidates its tokens. */
  #keyIsInUse({ kid, key }: Verified): boolean {
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
