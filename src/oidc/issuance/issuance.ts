/**
 * What stands in a token: the claims of access tokens and ID tokens, what a refresh token carries on, which scope a token
 * gets, and what the audit trail says of it. Each rule is one pure function in this folder. The fast path makes its tokens
 * with these functions alone; the hooks that oidc-provider calls (provider/token_hooks.ts, tokens/resource_policy.ts) pass
 * what the library decides through the same functions. A few claims the library makes without asking; the functions
 * concerned say which, and test/tokens/both_paths_compared.test.ts holds both paths equal.
 */
import { epochSeconds } from '../../base/clock.ts';
import { sha256 } from '../../base/secret.ts';

/** From when until when a token is valid, in epoch seconds (RFC 7519, 4.1). */
export interface Validity {
  readonly iat: number;
  readonly exp: number;
}

export function validityFrom(now: Date, seconds: number): Validity {
  const iat = epochSeconds(now);
  return { iat, exp: iat + seconds };
}

/** How and when the person logged in, as codes, device codes and refresh tokens store it. */
export interface Login {
  readonly acr?: string | undefined;
  readonly amr?: readonly string[] | undefined;
  readonly authTime?: number | undefined;
}

/** The same as claims (OpenID Connect Core, 2; RFC 9068, 2.2.1). */
export function loginClaims({ acr, amr, authTime }: Login) {
  return { acr, amr, auth_time: authTime };
}

/** The name by which tokens and audit events refer to a grant (`gid`). It is a digest, and of no use as a token. */
export function grantReference(grantId: string): string {
  return sha256(grantId).toString('base64url');
}
