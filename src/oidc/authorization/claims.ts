/** What this server tells about people: which claims there are, which scope asks for them, and single ones (`claims`). */
import { errors, type AccountClaims, type KoaContextWithOIDC } from 'oidc-provider';
import { z } from 'zod';
import type { Account } from '../../accounts/account.ts';
import { PROFILE_CLAIMS } from '../../accounts/profile.ts';
import { epochSeconds } from '../../base/clock.ts';

/** OpenID Connect Core, 5.4. That somebody logged in, how and when, is told with every login. */
export const CLAIMS_BY_SCOPE = {
  openid: ['sub', 'acr', 'amr', 'auth_time'],
  profile: ['name', ...PROFILE_CLAIMS, 'updated_at'],
  email: ['email', 'email_verified'],
  address: ['address'],
  phone: ['phone_number', 'phone_number_verified'],
};

export function claimsOf({ accountId, email, emailVerified, name, profile, updatedAt }: Account): AccountClaims {
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

/** What scopes ask for of a person, as far as it is known. */
export function claimsUnder(scopes: readonly string[], account: Account): Partial<AccountClaims> {
  const wanted = new Set(
    scopes.flatMap((scope) => (CLAIMS_BY_SCOPE as Record<string, readonly string[]>)[scope] ?? []),
  );
  return Object.fromEntries(Object.entries(claimsOf(account)).filter(([claim]) => wanted.has(claim)));
}

const LONGEST_DOCUMENT_CHARACTERS = 8_000;

const value = z.union([z.string().max(500), z.number(), z.boolean()]);
/** OpenID Connect Core, 5.5.1. */
const ClaimRequest = z
  .looseObject({ essential: z.boolean(), value, values: z.array(value).min(1).max(50) })
  .partial()
  .nullable();

const ClaimsRequest = z.record(
  z.string().min(1).max(200),
  ClaimRequest.refine((request) => request?.value === undefined || request.values === undefined),
);
const ClaimsDocument = z.looseObject({ userinfo: ClaimsRequest.optional(), id_token: ClaimsRequest.optional() });

/**
 * The library looks at the outer shape alone, and would fail on what is inside: here each claim is asked for as the
 * specification says, and the whole is small enough to be kept with every token of the grant.
 */
export function demandBoundedClaims({ oidc }: KoaContextWithOIDC, claims: object): void {
  if (String(oidc.params?.['claims']).length > LONGEST_DOCUMENT_CHARACTERS)
    throw new errors.InvalidRequest(`claims must not be longer than ${LONGEST_DOCUMENT_CHARACTERS} characters`);
  const { error } = ClaimsDocument.safeParse(claims);
  if (error)
    throw new errors.InvalidRequest(
      'claims must hold, for userinfo and id_token, names of claims with null or an object with essential, value or values',
    );
  const all = Object.values(claims).flatMap((one: unknown) => Object.keys(one ?? {}));
  if (all.includes('__proto__')) throw new errors.InvalidRequest('claims must not ask for __proto__');
}
