/**
 * Checks of signed authorization requests (JAR, RFC 9101) beyond the library's. The server accepts them by value only
 * and fetches none.
 */
import { errors, type Client, type KoaContextWithOIDC } from 'oidc-provider';
import { epochSeconds, type Clock } from '../../base/clock.ts';
import { jwtType } from '../../base/jwt_type.ts';
import { isFapi2, isFapi2Alg } from '../../clients/metadata/security_profile.ts';
import { recordOf } from '../client_authentication/provider_clients.ts';

/** The maximum lifetime, and the maximum age of `nbf`: a signed link must not be valid for long. */
const LONGEST_REQUEST_SECONDS = 3_600;
const FURTHEST_AHEAD_SECONDS = 60;

/** Many clients omit the type; another type was signed for another purpose (RFC 9101, 10.8). */
const TYPES: readonly unknown[] = [undefined, 'jwt', 'oauth-authz-req+jwt'];

type Claims = Readonly<Record<string, unknown>>;

/**
 * Returns a check that throws `invalid_request_object`. It runs before the signature is verified, so the sender may be
 * unknown. The library checks `iss` and `aud`.
 */
export function demandRequestObject(clock: Clock) {
  return (ctx: KoaContextWithOIDC, claims: Claims, header: Claims, client: Client): void => {
    // a pushed request object was checked when it was pushed
    if (ctx.oidc.entities.PushedAuthorizationRequest) return;
    if (!TYPES.includes(jwtType(header['typ']))) refuse('typ must be oauth-authz-req+jwt');
    // otherwise it could be used as a client assertion by anyone who sees the URL (RFC 9101, 10.8)
    if (claims['sub'] === client.clientId) refuse('sub must not be the client_id');
    if (ctx.oidc.route === 'backchannel_authentication') demandAll(claims);
    demandTimes(claims, epochSeconds(clock()));
    if (isFapi2(recordOf(client).metadata)) demandFapi2(claims, header);
  };
}

/** Requires the claims of CIBA, 7.1.1; without a browser, none may be missing. The library checks `iss` and `aud`. */
function demandAll({ iat, nbf, jti }: Claims): void {
  if (typeof iat !== 'number') refuse('iat is required');
  if (typeof nbf !== 'number') refuse('nbf is required');
  if (typeof jti !== 'string' || jti === '') refuse('jti is required');
}

function demandTimes({ exp, nbf, iat }: Claims, now: number): void {
  if (typeof exp !== 'number' || !(exp > now && exp <= now + LONGEST_REQUEST_SECONDS)) {
    refuse(`exp must be at most ${LONGEST_REQUEST_SECONDS} s in the future`);
  }
  if (typeof nbf === 'number' && nbf < now - LONGEST_REQUEST_SECONDS) {
    refuse(`nbf must be at most ${LONGEST_REQUEST_SECONDS} s in the past`);
  }
  if (typeof iat === 'number' && iat > now + FURTHEST_AHEAD_SECONDS) refuse('iat must not be in the future');
}

/** FAPI 2.0 Message Signing, 5.3.1: a request has `nbf`, and is valid for an hour at most. */
function demandFapi2({ exp, nbf }: Claims, header: Claims): void {
  if (!isFapi2Alg(header['alg'])) refuse('alg must be ES256, PS256, Ed25519 or EdDSA');
  if (typeof nbf !== 'number') refuse('nbf is required');
  if (Number(exp) > nbf + LONGEST_REQUEST_SECONDS) refuse(`exp must be at most ${LONGEST_REQUEST_SECONDS} s after nbf`);
}

function refuse(reason: string): never {
  throw new errors.InvalidRequestObject(reason);
}
