/** What a signed authorization request (JAR, RFC 9101) must be beyond what the library demands. By value only: none is fetched. */
import { errors, type Client, type KoaContextWithOIDC } from 'oidc-provider';
import { epochSeconds, type Clock } from '../../base/clock.ts';
import { isFapi2, isFapi2Alg } from '../../clients/metadata/security_profile.ts';
import { recordOf } from '../client_authentication/provider_clients.ts';

/** Of its life, and of its past where it says since when it is valid: signed links must not lie around for ever. */
const LONGEST_REQUEST_SECONDS = 3_600;
const FURTHEST_AHEAD_SECONDS = 60;

/** Many clients leave the type out; one of another kind was signed for another purpose (RFC 9101, 10.8). */
const TYPES: readonly unknown[] = [undefined, 'JWT', 'oauth-authz-req+jwt', 'application/oauth-authz-req+jwt'];

type Claims = Readonly<Record<string, unknown>>;

/**
 * Called before the signature is checked, so whatever it refuses may come from anybody. That the issuer is the client
 * and the audience is us, the library has seen to.
 */
export function demandRequestObject(clock: Clock) {
  return (ctx: KoaContextWithOIDC, claims: Claims, header: Claims, client: Client): void => {
    // one that was pushed was looked at when it was pushed
    if (ctx.oidc.entities.PushedAuthorizationRequest) return;
    if (!TYPES.includes(header['typ'])) refuse('typ must be oauth-authz-req+jwt');
    // else it would do as a client assertion, which anybody who sees the address could use (RFC 9101, 10.8)
    if (claims['sub'] === client.clientId) refuse('sub must not be the client_id');
    if (ctx.oidc.route === 'backchannel_authentication') demandAll(claims);
    demandTimes(claims, epochSeconds(clock()));
    if (isFapi2(recordOf(client).metadata)) demandFapi2(claims, header);
  };
}

/** No browser carries these, so nothing may be left out (CIBA, 7.1.1). What is about the issuer, the library demands. */
function demandAll({ iat, nbf, jti }: Claims): void {
  if (typeof iat !== 'number') refuse('iat must be there');
  if (typeof nbf !== 'number') refuse('nbf must be there');
  if (typeof jti !== 'string' || jti === '') refuse('jti must be there');
}

function demandTimes({ exp, nbf, iat }: Claims, now: number): void {
  if (typeof exp !== 'number' || !(exp > now && exp <= now + LONGEST_REQUEST_SECONDS)) {
    refuse(`exp must be at most ${LONGEST_REQUEST_SECONDS} s ahead`);
  }
  if (typeof nbf === 'number' && nbf < now - LONGEST_REQUEST_SECONDS) {
    refuse(`nbf must be at most ${LONGEST_REQUEST_SECONDS} s ago`);
  }
  if (typeof iat === 'number' && iat > now + FURTHEST_AHEAD_SECONDS) refuse('iat is ahead of time');
}

/** FAPI 2.0 message signing, 5.3.1: a request says from when on it is valid, and for an hour at most. */
function demandFapi2({ exp, nbf }: Claims, header: Claims): void {
  if (!isFapi2Alg(header['alg'])) refuse('alg must be ES256, PS256, Ed25519 or EdDSA');
  if (typeof nbf !== 'number') refuse('nbf is required');
  if (Number(exp) > nbf + LONGEST_REQUEST_SECONDS) refuse(`exp must be at most ${LONGEST_REQUEST_SECONDS} s after nbf`);
}

function refuse(reason: string): never {
  throw new errors.InvalidRequestObject(reason);
}
