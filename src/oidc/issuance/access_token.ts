/** The claims of a JWT access token (RFC 9068, 2.2). */
import type { Client } from '../../clients/client.ts';
import type { ClientMetadata } from '../../clients/metadata/client_metadata.ts';
import { FAPI2_ACCESS_TOKEN_SECONDS, isFapi2 } from '../../clients/metadata/security_profile.ts';
import type { AccessTokenClaims } from '../../keys/token_verifier.ts';
import type { CarriedClaims } from './exchanged_claims.ts';
import { grantReference, loginClaims, type Login, type Validity } from './issuance.ts';
import type { Audience } from './userinfo_audience.ts';

export interface AccessTokenFacts extends Validity {
  readonly issuer: string;
  readonly client: Pick<Client, 'clientId' | 'tokenGeneration'>;
  readonly jti: string;
  readonly sub: string;
  readonly audience: Audience;
  readonly scope: string | undefined;
  /** Set where a person's grant is behind the token. */
  readonly grantId?: string | undefined;
  /** The login that the grant came from. */
  readonly login?: Login | undefined;
  /** Set for a token that was made from another token or from an assertion. */
  readonly carried?: CarriedClaims | undefined;
  readonly authorizationDetails?: unknown;
  readonly confirmation?: AccessTokenClaims['cnf'] | undefined;
  /** The claims that userinfo gives besides those of the scopes. */
  readonly singleClaims?: readonly string[] | undefined;
  /** The claims that an admin has added for the resource (person_claims.ts). */
  readonly added?: Readonly<Record<string, unknown>> | undefined;
}

/**
 * Both paths sign exactly these claims. For its own tokens the library chooses `jti`, `iat`, `exp`, `scope`,
 * `authorization_details` and `cnf`, and asks `pairwiseIdentifier` for `sub`; its hook passes them in as facts.
 */
export function accessTokenClaims(facts: AccessTokenFacts) {
  const { client, login, grantId, carried } = facts;
  return {
    ...facts.added,
    ...(login && loginClaims(login)),
    gen: client.tokenGeneration,
    gid: grantId === undefined ? undefined : grantReference(grantId),
    ...carried,
    jti: facts.jti,
    sub: carried?.sub ?? facts.sub,
    iat: facts.iat,
    exp: facts.exp,
    authorization_details: facts.authorizationDetails,
    scope: facts.scope,
    client_id: client.clientId,
    iss: facts.issuer,
    aud: facts.audience,
    cnf: facts.confirmation,
    userinfo_claims: facts.singleClaims,
  };
}

/** How long an access token of this client lives for an API that allows so many seconds. */
export function accessTokenSeconds(metadata: Pick<ClientMetadata, 'profile'>, allowedSeconds: number): number {
  return isFapi2(metadata) ? Math.min(allowedSeconds, FAPI2_ACCESS_TOKEN_SECONDS) : allowedSeconds;
}
