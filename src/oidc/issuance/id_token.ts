/** The claims of an ID token (OpenID Connect Core, 2), and what this server says about a person (Core, 5.4). */
import type { AccountClaims } from 'oidc-provider';
import type { Account } from '../../accounts/account.ts';
import { PROFILE_CLAIMS } from '../../accounts/profile.ts';
import type { ClientMetadata } from '../../clients/metadata/client_metadata.ts';
import { epochSeconds } from '../../base/clock.ts';
import { loginClaims, type Login, type Validity } from './issuance.ts';

/** Which scope asks for which claims. How and when the person logged in is told with every login. */
export const CLAIMS_BY_SCOPE = {
  openid: ['sub', 'acr', 'amr', 'auth_time'],
  profile: ['name', ...PROFILE_CLAIMS, 'updated_at'],
  email: ['email', 'email_verified'],
  address: ['address'],
  phone: ['phone_number', 'phone_number_verified'],
};

/** Everything that is known about a person, as claims. */
export function accountClaims({ accountId, email, emailVerified, name, profile, updatedAt }: Account): AccountClaims {
  const { phone_number, phone_number_verified = false, ...others } = profile;
  return {
    sub: accountId,
    email,
    email_verified: emailVerified,
    ...(name !== null && { name }),
    ...others,
    ...(phone_number !== undefined && { phone_number, phone_number_verified }),
    updated_at: epochSeconds(updatedAt),
  };
}

type IdTokenMetadata = Pick<ClientMetadata, 'id_token_claims'>;

/** The scopes whose claims are in the ID token; a client that chose `minimal` reads the others at userinfo (Core, 5.4). */
export function idTokenScopes({ id_token_claims }: IdTokenMetadata, scopes: readonly string[]): readonly string[] {
  return id_token_claims === 'minimal' ? scopes.filter((scope) => scope === 'openid') : scopes;
}

/** The same for the library, which picks from these claims: those that the client asked for one by one stay (Core, 5.5). */
export function claimsForIdToken(
  { id_token_claims }: IdTokenMetadata,
  account: Account,
  askedOneByOne: object,
): AccountClaims {
  const claims = accountClaims(account);
  if (id_token_claims !== 'minimal') return claims;
  const asked = Object.entries(claims).filter(([claim]) => Object.hasOwn(askedOneByOne, claim));
  return { ...Object.fromEntries(asked), sub: claims.sub };
}

export interface IdTokenFacts extends Validity {
  readonly issuer: string;
  readonly clientId: string;
  readonly sub: string;
  readonly account: Account;
  /** The scopes of OpenID Connect that the person has granted and the request is for. */
  readonly scopes: readonly string[];
  readonly login: Login & { readonly nonce?: string | undefined; readonly sid?: string | undefined };
  /** The claims that an admin has added (person_claims.ts). */
  readonly added?: Readonly<Record<string, unknown>> | undefined;
}

/**
 * The library makes its own ID tokens in the same form: it picks from `accountClaims` by `CLAIMS_BY_SCOPE` and by the
 * `claims` parameter, asks `pairwiseIdentifier` for `sub`, and adds the login, `nonce`, `sid`, `aud`, `exp`, `iat` and
 * `iss` without asking.
 */
export function idTokenClaims({ issuer, clientId, sub, account, scopes, login, added, iat, exp }: IdTokenFacts) {
  const { nonce, sid } = login;
  return {
    ...added,
    ...claimsUnder(scopes, account),
    ...loginClaims(login),
    sub,
    nonce,
    sid,
    aud: clientId,
    exp,
    iat,
    iss: issuer,
  };
}

function claimsUnder(scopes: readonly string[], account: Account): Partial<AccountClaims> {
  const wanted = new Set(
    scopes.flatMap((scope) => (CLAIMS_BY_SCOPE as Record<string, readonly string[]>)[scope] ?? []),
  );
  return Object.fromEntries(Object.entries(accountClaims(account)).filter(([claim]) => wanted.has(claim)));
}
