/** What a token says of the tokens or the assertion that it was made from (RFC 8693; RFC 7523). */
import type { AccessTokenClaims, ParentToken } from '../../keys/token_verifier.ts';

/** Claims that come from what was presented. Where the provider would set the same claim, these win. */
export type CarriedClaims = Partial<
  Pick<AccessTokenClaims, 'act' | 'sub' | 'sub_id' | 'asserted_by' | 'parents' | 'gid' | 'acr' | 'amr' | 'auth_time'>
>;

/**
 * The new token hangs on the same grant as the old one, and says as much about its subject. A subject without an account
 * has the same name for all clients, also for those with pairwise subjects.
 */
export function inheritedClaims({
  gid,
  sub,
  sub_id,
  asserted_by,
  acr,
  amr,
  auth_time,
}: Readonly<AccessTokenClaims>): CarriedClaims {
  const carried = { gid, sub: gid === undefined ? sub : undefined, sub_id, asserted_by, acr, amr, auth_time };
  return Object.fromEntries(Object.entries(carried).filter(([, value]) => value !== undefined));
}

/** The token rests on the word of this issuer, and names its subject where that has no account here. */
export function assertedClaims(
  issuer: string,
  { sub, subId }: { readonly sub: string; readonly subId: AccessTokenClaims['sub_id'] },
): CarriedClaims {
  return { asserted_by: issuer, ...(subId && { sub, sub_id: subId }) };
}

/** How a token names one that it was made from: it is dead as soon as that one is. */
export function parentOf({ jti, client_id, gen, aud, iat }: AccessTokenClaims): ParentToken {
  return { jti, client_id, gen, aud, iat };
}
