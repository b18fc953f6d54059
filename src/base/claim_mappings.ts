/**
 * Claim mappings: data that an admin sets for a client or a resource. Each gives a claim of the admin's choice the value
 * of a member of the profile, or the names of the person's groups or roles.
 */
import { z } from 'zod';

/** What a claim can come from. */
export const CLAIM_SOURCES = [
  'groups',
  'roles',
  'name',
  'given_name',
  'family_name',
  'middle_name',
  'nickname',
  'preferred_username',
  'profile',
  'picture',
  'website',
  'gender',
  'birthdate',
  'zoneinfo',
  'locale',
  'updated_at',
  'email',
  'email_verified',
  'phone_number',
  'phone_number_verified',
  'address',
] as const;
export type ClaimSource = (typeof CLAIM_SOURCES)[number];

/** Claims that the server itself sets in ID tokens and access tokens, or members that it sets at introspection. */
const SET_BY_SERVER = [
  'iss sub aud exp iat nbf jti scope client_id cnf act acr amr auth_time gen gid sub_id azp nonce',
  'at_hash c_hash s_hash sid userinfo_claims parents asserted_by authorization_details may_act events',
  'txn toe active username token_type token_introspection _claim_names _claim_sources',
].flatMap((names) => names.split(' '));

const RESERVED: ReadonlySet<string> = new Set([
  ...SET_BY_SERVER,
  ...CLAIM_SOURCES.filter((source) => source !== 'groups' && source !== 'roles'),
]);

/** The marker that takes the place of a list of names that is too long for a token. */
export const OMITTED = '_omitted';

const claimName = z
  .string()
  .max(128, 'must not be longer than 128 characters')
  .regex(
    /^[A-Za-z][A-Za-z0-9_.:/-]*$/,
    'must begin with a letter, and consist of letters, digits, dashes, underscores, dots, colons and slashes',
  )
  .refine((name) => !RESERVED.has(name), 'is a claim that the server itself sets')
  .refine((name) => !name.endsWith(OMITTED), `must not end with ${OMITTED}, which marks a list that was left out`);

const ClaimMapping = z.strictObject({
  claim: claimName.describe('The name of the claim.'),
  from: z
    .enum(CLAIM_SOURCES, `must be one of ${CLAIM_SOURCES.join(', ')}`)
    .describe('A member of the profile, or groups or roles for the names of the person’s groups or roles.'),
});
export type ClaimMapping = z.output<typeof ClaimMapping>;

export const ClaimMappings = z
  .array(ClaimMapping)
  .max(20, 'must not have more than 20 mappings')
  .refine((all) => new Set(all.map(({ claim }) => claim)).size === all.length, 'must not name a claim twice');
