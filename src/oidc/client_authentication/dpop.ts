/**
 * Proofs of possession (DPoP, RFC 9449), where the library leaves something open: a proof is always a fresh one, one
 * that is missing or was used before is answered by its name, and one use is decided for all nodes together.
 */
import { calculateJwkThumbprint, decodeJwt, decodeProtectedHeader } from 'jose';
import { errors, Provider, type Client, type KoaContextWithOIDC } from 'oidc-provider';
import { epochSeconds, type Clock } from '../../base/clock.ts';
import type { Database } from '../../db/connection.ts';
import { useOnce } from '../request/single_use.ts';
import { internalsOf } from '../provider/library_types.ts';

const OLDEST_PROOF_SECONDS = 300;
/** FAPI 2.0: a clock may be a few seconds ahead, never more than a minute. */
const FURTHEST_AHEAD_SECONDS = 60;

/** Requests whose proof the library is verifying or has verified. */
const examined = new WeakSet<object>();

/**
 * Looks at a proof before the library does. It asks here whether a nonce is required, each time a proof came: none is,
 * but the next one is in every answer (`DPoP-Nonce`). With a nonce the library would take a proof of any age, and a
 * proof made ahead of time is what nonces are against (RFC 9449, 11.2).
 */
export function examineProof(clock: Clock) {
  return (ctx: KoaContextWithOIDC): boolean => {
    if ((ctx.req.headersDistinct['dpop'] ?? []).length > 1) refuse('there must be one DPoP header, not several');
    const { iat } = parse(ctx).claims;
    const ageSeconds = typeof iat === 'number' ? epochSeconds(clock()) - iat : Number.NaN;
    if (!(ageSeconds <= OLDEST_PROOF_SECONDS && ageSeconds >= -FURTHEST_AHEAD_SECONDS)) {
      refuse(`iat must be at most ${OLDEST_PROOF_SECONDS} s ago`);
    }
    examined.add(ctx.req);
    return false;
  };
}

/** Whether what the library wants to use once is this request's proof: clients have proved themselves before it. */
export function isAboutProof(ctx: Pick<KoaContextWithOIDC, 'req'>): boolean {
  return examined.has(ctx.req);
}

/** Whether the proof that the library is verifying was made for this address. */
export function isProvedFor(ctx: KoaContextWithOIDC, address: string): boolean {
  if (!examined.has(ctx.req)) return false;
  const { htu } = parse(ctx).claims;
  return typeof htu === 'string' && htu.split(/[?#]/)[0] === address;
}

/** Whose key the request's proof shows, where it has brought one that the library has verified (RFC 7638). */
export async function keyOfProof(
  ctx: Pick<KoaContextWithOIDC, 'req' | 'get'> | undefined,
): Promise<string | undefined> {
  return ctx && examined.has(ctx.req) ? calculateJwkThumbprint(parse(ctx).jwk!) : undefined;
}

/**
 * Uses up the proof of the request, which the library has verified. What counts is the key: a proof that one client
 * sent is no fresh one when another client sends it.
 */
export async function useProof(
  database: Database,
  ctx: Pick<KoaContextWithOIDC, 'get' | 'req'>,
  onReplay: () => void,
): Promise<void> {
  const { claims, jwk } = parse(ctx);
  const issuer = await calculateJwkThumbprint(jwk!);
  // one from a clock that is ahead is accepted for longer, so it is remembered for longer
  const until = claims.iat! + OLDEST_PROOF_SECONDS;
  if (await useOnce(ctx, database, 'dpop_proof', { issuer, jti: claims.jti!, until })) return;
  onReplay();
  refuse('the DPoP proof was used already');
}

/** Where the library would answer `invalid_grant` to a client whose tokens are bound to a key. */
export function demandProof({ dpopBoundAccessTokens }: Pick<Client, 'dpopBoundAccessTokens'>): void {
  const ctx = Provider.ctx;
  if (dpopBoundAccessTokens && ctx?.oidc.route === 'token') refuseWithoutProof(ctx);
}

/**
 * The same for a code (RFC 9449, 10) or a refresh token that is bound to a key itself. Refused here, before the
 * library uses it up: whoever forgot the proof can still bring it.
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
