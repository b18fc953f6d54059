/** What a client assertion (RFC 7523, 3) must be beyond what the library demands. */
import { errors, type Client, type KoaContextWithOIDC } from 'oidc-provider';
import { epochSeconds, type Clock } from '../../base/clock.ts';
import { isFapi2, isFapi2Alg } from '../../clients/metadata/security_profile.ts';
import { recordOf } from './provider_clients.ts';

/** Its jti is kept until it expires, and one that leaks is worth something until then. */
const LONGEST_ASSERTION_SECONDS = 3_600;
/** A clock may be a few seconds ahead, never more than a minute (FAPI 2.0, 5.3.2.1). */
const FURTHEST_AHEAD_SECONDS = 60;

type Claims = Readonly<Record<string, unknown>>;

/**
 * The audience is this server's identifier and nothing else: one that names the token endpoint, or a second server
 * beside ours, may have been made for somebody else, who could then use it here (CVE-2025-27371).
 */
export function demandOurAudience(issuer: string, clock: Clock) {
  return (_ctx: KoaContextWithOIDC, { aud, exp, iat, jti }: Claims, header: Claims, client: Client): void => {
    if (isFapi2(recordOf(client).metadata)) {
      if (!isFapi2Alg(header['alg'])) refuse(`${String(header['alg'])} is not for clients with profile fapi2`);
      if (typeof aud !== 'string') refuse('aud must be a text, not a list');
    }
    const audiences = [aud].flat();
    if (audiences.length !== 1 || audiences[0] !== issuer) refuse('aud must be the issuer alone');
    if (iat !== undefined && !(Number(iat) <= epochSeconds(clock()) + FURTHEST_AHEAD_SECONDS))
      refuse('iat is ahead of time');
    if (typeof jti !== 'string') refuse('jti must be a string');
    if (typeof exp !== 'number' || exp > epochSeconds(clock()) + LONGEST_ASSERTION_SECONDS) {
      refuse(`exp must be at most ${LONGEST_ASSERTION_SECONDS} s ahead`);
    }
  };
}

function refuse(reason: string): never {
  throw new errors.InvalidClientAuth(reason);
}
