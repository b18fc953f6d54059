/** The claims about people that this server supports, and how scopes and the `claims` parameter request them. */
import { errors, type AccountClaims, type KoaContextWithOIDC } from 'oidc-provider';
import { z } from 'zod';
import type { Account } from '../../accounts/account.ts';
import { PROFILE_CLAIMS } from '../../accounts/profile.ts';
import { epochSeconds } from '../../base/clock.ts';

/** OpenID Connect Core, 5.4. How and when the person logged in (`acr`, `amr`, `auth_time`) is part of `openid`. */
export const CLAIMS_BY_SCOPE = {
  openid: ['sub', 'acr', 'amr', 'auth_time'],
  profile: ['name', ...PROFILE_CLAIMS, 'updated_at'],
  email: ['email', 'email_verified'],
  address: ['address'],
  phone: ['phone_number', 'phone_number_verified'],
};

/** All claims about an account, for ID tokens and userinfo. */
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

/** The claims that the scopes request, if the account has them. */
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
 * Throws `invalid_request` unless the `claims` parameter is valid and small enough to be stored with every token of the
 * grant. The library checks only the outer structure, and would fail on invalid members.
 */
export function demandBoundedClaims({ oidc }: KoaContextWithOIDC, claims: object): void {
  if (String(oidc.params?.['claims']).length > LONGEST_DOCUMENT_CHARACTERS)
    throw new errors.InvalidRequest(`claims must not exceed ${LONGEST_DOCUMENT_CHARACTERS} characters`);
  const { error } = ClaimsDocument.safeParse(claims);
  if (error)
    throw new errors.InvalidRequest(
      'claims must map claim names, under userinfo and id_token, to null or an object with essential, value or values',
    );
  const all = Object.values(claims).flatMap((one: unknown) => Object.keys(one ?? {}));
  if (all.includes('__proto__')) throw new errors.InvalidRequest('claims must not contain __proto__');
}
