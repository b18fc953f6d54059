/** Single claims that a client requests with the `claims` parameter (OpenID Connect Core, 5.5). */
import { errors, type KoaContextWithOIDC } from 'oidc-provider';
import { z } from 'zod';

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

/** The claims that a `claims` parameter requests for the ID token; `demandBoundedClaims` has already validated it. */
export function idTokenClaims(claims: unknown): Readonly<Record<string, { value?: unknown } | null>> | undefined {
  if (typeof claims !== 'string') return undefined;
  return (JSON.parse(claims) as { id_token?: Record<string, { value?: unknown } | null> }).id_token;
}
