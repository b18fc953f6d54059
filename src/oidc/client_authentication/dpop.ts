/**
 * DPoP (RFC 9449), where the library leaves something open: a proof must be recent, a missing or reused proof has an
 * error of its own, and each proof is valid once, across all nodes.
 */
import { calculateJwkThumbprint, decodeJwt, decodeProtectedHeader } from 'jose';
import { errors, Provider, type Client, type KoaContextWithOIDC } from 'oidc-provider';
import { epochSeconds, type Clock } from '../../base/clock.ts';
import type { Database } from '../../db/connection.ts';
import { useOnce } from '../request/single_use.ts';
import { internalsOf } from '../provider/library_types.ts';

const OLDEST_PROOF_SECONDS = 300;
/** FAPI 2.0: a client's clock may be a few seconds ahead, but not more than a minute. */
const FURTHEST_AHEAD_SECONDS = 60;

/** Requests whose proof the library is verifying or has verified. */
const examined = new WeakSet<object>();

/**
 * Checks a proof before the library does. The library calls this hook for each proof to ask whether a nonce is
 * required. It is not, but every answer offers the next one (`DPoP-Nonce`). With a nonce the library would accept a
 * proof of any age, although nonces exist to prevent proofs that were made in advance (RFC 9449, 11.2).
 */
export function examineProof(clock: Clock) {
  return (ctx: KoaContextWithOIDC): boolean => {
    if ((ctx.req.headersDistinct['dpop'] ?? []).length > 1) refuse('send exactly one DPoP header');
    const { iat } = parse(ctx).claims;
    const ageSeconds = typeof iat === 'number' ? epochSeconds(clock()) - iat : Number.NaN;
    if (!(ageSeconds <= OLDEST_PROOF_SECONDS && ageSeconds >= -FURTHEST_AHEAD_SECONDS)) {
      refuse(`iat must be at most ${OLDEST_PROOF_SECONDS} s in the past`);
    }
    examined.add(ctx.req);
    return false;
  };
}

/** The base64url form of the 32 bytes of a SHA-256; of its last character two bits are zero. */
const THUMBPRINT = /^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$/;

/**
 * Throws `invalid_request` if `dpop_jkt` can't be a thumbprint (RFC 9449, 10), because no proof could ever match it. A
 * request object may hold a value that is not a text.
 */
export function demandThumbprint({ oidc: { params = {} } }: KoaContextWithOIDC): void {
  const { dpop_jkt: thumbprint } = params;
  if (thumbprint === undefined || (typeof thumbprint === 'string' && THUMBPRINT.test(thumbprint))) return;
  throw new errors.InvalidRequest('dpop_jkt must be the base64url-encoded SHA-256 thumbprint of a JWK: 43 characters');
}

/**
 * True if the single-use object that the library checks is this request's DPoP proof; client assertions are checked
 * before it.
 */
export function isAboutProof(ctx: Pick<KoaContextWithOIDC, 'req'>): boolean {
  return examined.has(ctx.req);
}

/** True if the proof that the library is verifying was made for this address. */
export function isProvedFor(ctx: KoaContextWithOIDC, address: string): boolean {
  if (!examined.has(ctx.req)) return false;
  const { htu } = parse(ctx).claims;
  return typeof htu === 'string' && htu.split(/[?#]/)[0] === address;
}

/**
 * The thumbprint (RFC 7638) of the key of the request's proof; `undefined` if there is none that the library has
 * verified.
 */
export async function keyOfProof(
  ctx: Pick<KoaContextWithOIDC, 'req' | 'get'> | undefined,
): Promise<string | undefined> {
  return ctx && examined.has(ctx.req) ? calculateJwkThumbprint(parse(ctx).jwk!) : undefined;
}

/**
 * Marks the request's verified proof as used. Uses are counted per key, so that a proof of one client can't be used by
 * another.
 */
export async function useProof(
  database: Database,
  ctx: Pick<KoaContextWithOIDC, 'get' | 'req'>,
  onReplay: () => void,
): Promise<void> {
  const { claims, jwk } = parse(ctx);
  const issuer = await calculateJwkThumbprint(jwk!);
  // a proof whose iat is in the future is valid for longer, so it is remembered for longer
  const until = claims.iat! + OLDEST_PROOF_SECONDS;
  if (await useOnce(ctx, database, 'dpop_proof', { issuer, jti: claims.jti!, until })) return;
  onReplay();
  refuse('the DPoP proof was already used');
}

/**
 * Throws `invalid_dpop_proof` if a client whose tokens must be bound to a key sends no proof; the library would answer
 * `invalid_grant`.
 */
export function demandProof({ dpopBoundAccessTokens }: Pick<Client, 'dpopBoundAccessTokens'>): void {
  const ctx = Provider.ctx;
  if (dpopBoundAccessTokens && ctx?.oidc.route === 'token') refuseWithoutProof(ctx);
}

/**
 * Does the same for a code (RFC 9449, 10) or refresh token that is bound to a key. It refuses before the library
 * consumes the code or token, so that the client can retry with a proof.
 */
export function demandProofOfBound(provider: Provider): void {
  const { AuthorizationCode, RefreshToken } = internalsOf(provider);
  for (const Model of [AuthorizationCode, RefreshToken]) {
    const { find } = Model;
    Model.find = async (value, options) => {
      const found = await find.call(Model, value, options);
      const ctx = Provider.ctx;
      const bound = (found?.dpopJkt ?? found?.jkt) !== undefined;
      if (bound && ctx?.oidc.route === 'token' && found?.clientId === ctx.oidc.client?.clientId) {
        refuseWithoutProof(ctx);
      }
      return found;
    };
  }
}

function refuseWithoutProof(ctx: KoaContextWithOIDC): void {
  if (ctx.get('DPoP') === '') refuse('a DPoP proof is required');
}

function parse(ctx: Pick<KoaContextWithOIDC, 'get'>) {
  const proof = ctx.get('DPoP');
  try {
    return { claims: decodeJwt(proof), jwk: decodeProtectedHeader(proof).jwk };
  } catch (cause) {
    throw new errors.InvalidDpopProof('the DPoP proof is not a JWT', { cause: cause as Error });
  }
}

function refuse(reason: string): never {
  throw new errors.InvalidDpopProof(reason);
}
