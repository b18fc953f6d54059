/** Single claims that a client asks for with the `claims` parameter (OpenID Connect Core, 5.5). */
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
