/** Checks of client assertions (RFC 7523, 3) beyond the library's. */
import { errors, type Client, type KoaContextWithOIDC } from 'oidc-provider';
import { epochSeconds, type Clock } from '../../base/clock.ts';
import { isFapi2, isFapi2Alg } from '../../clients/metadata/security_profile.ts';
import { recordOf } from './provider_clients.ts';

/** The server stores the jti until the assertion expires, and a leaked assertion can be used until then. */
const LONGEST_ASSERTION_SECONDS = 3_600;
/** A client's clock may be a few seconds ahead, but not more than a minute (FAPI 2.0, 5.3.2.1). */
const FURTHEST_AHEAD_SECONDS = 60;

type Claims = Readonly<Record<string, unknown>>;

/**
 * Returns a check that throws `invalid_client` unless the issuer is the only audience. An assertion for the token
 * endpoint's URL or for a second server may have been made for another server, which could then use it here
 * (CVE-2025-27371).
 */
export function demandOurAudience(issuer: string, clock: Clock) {
  return (_ctx: KoaContextWithOIDC, { aud, exp, iat, jti }: Claims, header: Claims, client: Client): void => {
    if (isFapi2(recordOf(client).metadata)) {
      if (!isFapi2Alg(header['alg']))
        refuse(`alg ${String(header['alg'])} is not permitted for clients with profile fapi2`);
      if (typeof aud !== 'string') refuse('aud must be a string, not an array');
    }
    const audiences = [aud].flat();
    if (audiences.length !== 1 || audiences[0] !== issuer) refuse('aud must be the issuer only');
    if (iat !== undefined && !(Number(iat) <= epochSeconds(clock()) + FURTHEST_AHEAD_SECONDS))
      refuse('iat must not be in the future');
    if (typeof jti !== 'string') refuse('jti must be a string');
    if (typeof exp !== 'number' || exp > epochSeconds(clock()) + LONGEST_ASSERTION_SECONDS) {
      refuse(`exp must be at most ${LONGEST_ASSERTION_SECONDS} s in the future`);
    }
  };
}

function refuse(reason: string): never {
  throw new errors.InvalidClientAuth(reason);
}
