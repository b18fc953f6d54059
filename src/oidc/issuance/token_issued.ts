/** What the audit trail says of each token that a client receives. */
import type { DetailsOf, EventOf } from '../../audit/catalogue.ts';
import type { AuditEvent } from '../../audit/events.ts';
import { typesOf, type Details } from '../request/requested_details.ts';
import type { ParentToken } from '../../keys/token_verifier.ts';
import { grantReference } from './issuance.ts';

/** The claims that say which JWT it is, and when it is dead (tokens/access_token_state.ts). */
export interface IssuedClaims {
  readonly jti: string;
  readonly exp: number;
  readonly gen: number;
  readonly gid?: string | undefined;
  readonly asserted_by?: string | undefined;
  readonly parents?: readonly ParentToken[] | undefined;
}

export interface IssuedToken {
  readonly clientId: string | undefined;
  readonly accountId?: string | undefined;
  readonly grantType: string | undefined;
  readonly grantId?: string | undefined;
  readonly resource: string | undefined;
  /** Set if the token is for userinfo besides the resource. */
  readonly withUserinfo?: boolean | undefined;
  readonly scope: string | undefined;
  readonly expiresInSeconds: number | undefined;
  /** `undefined` for an opaque token: its id is the token itself. */
  readonly claims: IssuedClaims | undefined;
  readonly withRefreshToken: boolean;
  readonly authorizationDetails?: Details | undefined;
  readonly jkt?: string | undefined;
  readonly certificateThumbprint?: string | undefined;
  /** By what right the token was made, where the grant type does not say. */
  readonly trade?: Partial<DetailsOf<'token.issued'>> | undefined;
}

export function tokenIssued(token: IssuedToken): EventOf<'token.issued'> & AuditEvent {
  const { clientId, accountId, grantId, claims, trade } = token;
  const details: DetailsOf<'token.issued'> = {
    grant_type: token.grantType,
    resource: token.resource,
    with_userinfo: token.withUserinfo || undefined,
    scope: token.scope,
    authorization_details_types: typesOf(token.authorizationDetails),
    jti: claims?.jti,
    expires_in_seconds: token.expiresInSeconds,
    expires_at: claims && new Date(claims.exp * 1000).toISOString(),
    generation: claims?.gen,
    with_refresh_token: token.withRefreshToken,
    jkt: token.jkt,
    x5t_s256: token.certificateThumbprint,
    // an exchanged token hangs on the grant of the token that it was made from
    grant_id: grantId === undefined ? claims?.gid : grantReference(grantId),
    asserted_by: claims?.asserted_by,
    parents: claims?.parents?.map(({ jti, client_id, gen, gid, asserted_by, aud, iat }) => ({
      jti,
      client_id,
      generation: gen,
      grant_id: gid,
      asserted_by,
      resource: [aud].flat()[0],
      issued_at: iat === undefined ? undefined : new Date(iat * 1000).toISOString(),
    })),
    ...trade,
  };
  return { event: 'token.issued', outcome: 'success', clientId, accountId, details };
}
