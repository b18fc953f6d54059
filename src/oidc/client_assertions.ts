/** What a client assertion (RFC 7523, 3) must be beyond what the library demands. */
import { errors, type KoaContextWithOIDC } from 'oidc-provider';
import { epochSeconds, type Clock } from '../base/clock.ts';

/** Its jti is kept until it expires, and one that leaks is worth something until then. */
const LONGEST_ASSERTION_SECONDS = 3_600;

/**
 * The audience is this server's identifier and nothing else: one that names the token endpoint, or a second server
 * beside ours, may have been made for somebody else, who could then use it here (CVE-2025-27371).
 */
export function demandOurAudience(issuer: string, clock: Clock) {
  return (_ctx: KoaContextWithOIDC, { aud, exp, jti }: Readonly<Record<string, unknown>>): void => {
    const audiences = [aud].flat();
    if (audiences.length !== 1 || audiences[0] !== issuer) refuse('aud must be the issuer alone');
    if (typeof jti !== 'string') refuse('jti must be a string');
    if (typeof exp !== 'number' || exp > epochSeconds(clock()) + LONGEST_ASSERTION_SECONDS) {
      refuse(`exp must be at most ${LONGEST_ASSERTION_SECONDS} s ahead`);
    }
  };
}

function refuse(reason: string): never {
  throw new errors.InvalidClientAuth(reason);
}
