/**
 * What a client is registered with: the members of RFC 7591 that this server speaks, each bounded, none unknown.
 * The whole is validated again after every change, so no sequence of changes can reach a state that could not be made.
 */
import { createPublicKey, type JsonWebKey } from 'node:crypto';
import { z } from 'zod';
import { objectionToRedirectUri } from './redirect_uri.ts';

/** For devices without a browser (RFC 8628). */
export const DEVICE_CODE = 'urn:ietf:params:oauth:grant-type:device_code';
export const GRANT_TYPES = ['authorization_code', 'refresh_token', 'client_credentials', DEVICE_CODE] as const;
export const AUTH_METHODS = ['client_secret_basic', 'client_secret_post', 'private_key_jwt', 'none'] as const;
/** What clients sign with: assertions and request objects. RFC 9864 renames EdDSA to Ed25519: clients send either. */
export const CLIENT_ALGS = ['ES256', 'RS256', 'PS256', 'Ed25519', 'EdDSA'] as const;
const clientAlg = z.enum(CLIENT_ALGS, 'must be ES256, RS256, PS256, Ed25519 or EdDSA');
/** What this server signs with: the keys that it has. */
const serverAlg = z.enum(['ES256', 'RS256'], 'must be ES256 or RS256');

const text = (most: number) =>
  z
    .string()
    .trim()
    .min(1, 'must not be empty')
    .max(most, `must not be longer than ${most} characters`)
    .regex(/^[^\p{Cc}\p{Cf}]*$/u, 'must not contain control or invisible characters');

const httpsUrl = z
  .string()
  .max(2_000, 'must not be longer than 2000 characters')
  .refine((value) => URL.parse(value)?.protocol === 'https:' && !URL.parse(value)?.username, 'must be an https URL');

/** Loopback needs no TLS; that this server fetches from there at all is the operator's word (see egress/). */
const keysUrl = z
  .string()
  .max(2_000, 'must not be longer than 2000 characters')
  .refine((value) => {
    const url = URL.parse(value);
    if (!url || url.username || url.password) return false;
    return url.protocol === 'https:' || (url.protocol === 'http:' && /^(127(\.\d+){3}|\[::1\])$/.test(url.hostname));
  }, 'must be an https URL');

const uris = z.array(z.string()).max(50, 'must not name more than 50 URIs');

const PRIVATE_MEMBERS = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k'];
/** A public key in the shape of RFC 7517 that this server can verify with. */
export const PublicJwk = z
  .looseObject({
    kty: z.enum(['EC', 'RSA', 'OKP'], 'must be EC, RSA or OKP: only public keys are registered'),
    kid: z.string().min(1, 'must not be empty').max(200).optional(),
    alg: z.string().min(1, 'must not be empty').optional(),
    use: z.string().min(1, 'must not be empty').optional(),
    x5c: z.array(z.string().min(1, 'must not be empty')).optional(),
  })
  .refine(
    (jwk) => PRIVATE_MEMBERS.every((member) => !(member in jwk)),
    'must not contain a private key; register the public half',
  )
  .refine((jwk) => JSON.stringify(jwk).length <= 8_000, 'must not be longer than 8000 characters')
  .refine(isUsableKey, 'must be a whole public key, and an RSA key must have 2048 bits or more');

const ResourceAccess = z.strictObject({
  resource: z.string().max(512),
  scopes: z
    .array(z.string().max(128))
    .min(1, 'must name at least one scope')
    .max(200, 'must not name more than 200 scopes')
    .refine((all) => new Set(all).size === all.length, 'must not name a scope twice')
    .refine((all) => !all.some((scope) => scope.includes('*')), 'must not contain a wildcard: name each scope'),
});
export type ResourceAccess = z.output<typeof ResourceAccess>;

const members = {
  client_name: text(200).optional().describe('Shown to people at login and consent.'),
  client_uri: httpsUrl.optional(),
  logo_uri: httpsUrl.optional(),
  policy_uri: httpsUrl.optional(),
  tos_uri: httpsUrl.optional(),
  contacts: z.array(z.email('must be an e-mail address').max(254)).max(20).optional(),
  application_type: z.enum(['web', 'native'], 'must be web or native').default('web'),
  redirect_uris: uris.default([]),
  post_logout_redirect_uris: uris.default([]),
  grant_types: z
    .array(z.enum(GRANT_TYPES, `must be one of ${GRANT_TYPES.join(', ')}`))
    .max(GRANT_TYPES.length)
    .optional()
    .describe('Left out: authorization_code with redirect_uris, client_credentials without.'),
  response_types: z.array(z.literal('code', 'must be code')).max(1).optional(),
  token_endpoint_auth_method: z
    .enum(AUTH_METHODS, `must be one of ${AUTH_METHODS.join(', ')}`)
    .default('client_secret_basic'),
  token_endpoint_auth_signing_alg: clientAlg.optional(),
  jwks: z
    .strictObject({
      keys: z.array(PublicJwk).min(1, 'must hold at least one key').max(10, 'must not hold more than 10 keys'),
    })
    .optional(),
  jwks_uri: keysUrl.optional(),
  scope: z
    .string()
    .max(200)
    .regex(
      /^(openid|profile|email|offline_access)( (openid|profile|email|offline_access))*$/,
      'must list scopes of OpenID Connect; name those of an API in resources',
    )
    .optional(),
  id_token_signed_response_alg: serverAlg.optional(),
  authorization_signed_response_alg: serverAlg
    .optional()
    .describe('What authorization responses are signed with that the client asks for as JWT (JARM). Left out: RS256.'),
  dpop_bound_access_tokens: z
    .boolean()
    .optional()
    .describe('Whether every token of the client is bound to a key: without a DPoP proof it gets none (RFC 9449).'),
  require_pushed_authorization_requests: z
    .boolean()
    .optional()
    .describe('Whether every authorization request of the client must have been pushed before (RFC 9126).'),
  request_object_signing_alg: clientAlg
    .optional()
    .describe('The one algorithm that request objects of the client are signed with (RFC 9101).'),
  require_signed_request_object: z
    .boolean()
    .optional()
    .describe('Whether every authorization request of the client must be signed (RFC 9101).'),
  default_max_age: z.int().min(0).max(31_536_000).optional(),
  require_auth_time: z.boolean().optional(),
  resources: z
    .array(ResourceAccess)
    .max(100, 'must not name more than 100 resources')
    .default([])
    .describe('What the client may ask for.'),
  introspects: z
    .array(z.string().max(512))
    .max(100)
    .default([])
    .describe('Resources whose tokens this client may introspect.'),
  secret_rotation_days: z
    .int('must be a whole number of days')
    .min(1, 'must be at least 1 day')
    .max(365, 'must be at most 365 days')
    .optional()
    .describe('How old the newest secret may get before the client counts as overdue.'),
};

/** Everything a client is registered with, validated as a whole. */
export const ClientMetadata = z.strictObject(members).transform(withDefaults).superRefine(checkWhole);
export type ClientMetadata = z.output<typeof ClientMetadata>;

/** The shape alone, for the OpenAPI document. */
export const ClientMetadataShape = z.strictObject(members);

/** Whether the client proves itself with a shared secret. */
export function usesSecret(metadata: Pick<ClientMetadata, 'token_endpoint_auth_method'>): boolean {
  return metadata.token_endpoint_auth_method.startsWith('client_secret_');
}

/** What says something about authorization requests, and nothing about a client that makes none. */
const OF_AUTHORIZATION_REQUESTS = [
  'require_pushed_authorization_requests',
  'request_object_signing_alg',
  'require_signed_request_object',
  'authorization_signed_response_alg',
] as const;

type Given = z.output<z.ZodObject<typeof members>>;

function withDefaults(given: Given) {
  const grant_types = given.grant_types ?? [
    given.redirect_uris.length > 0 ? 'authorization_code' : 'client_credentials',
  ];
  const response_types: 'code'[] = given.response_types ?? (grant_types.includes('authorization_code') ? ['code'] : []);
  return { ...given, grant_types, response_types };
}

function checkWhole(
  client: ReturnType<typeof withDefaults>,
  context: z.RefinementCtx<ReturnType<typeof withDefaults>>,
): void {
  const object = (path: (string | number)[], message: string) => context.addIssue({ code: 'custom', path, message });
  const grants = new Set<string>(client.grant_types);
  const method = client.token_endpoint_auth_method;

  if (grants.size === 0) object(['grant_types'], 'must name at least one grant type');
  if (grants.size !== client.grant_types.length) object(['grant_types'], 'must not name a grant type twice');
  if (grants.has('client_credentials') && method === 'none') {
    object(
      ['grant_types'],
      'must not contain client_credentials for a client that does not authenticate (token_endpoint_auth_method none)',
    );
  }
  if (grants.has('refresh_token') && !grants.has('authorization_code') && !grants.has(DEVICE_CODE)) {
    object(['grant_types'], `must contain authorization_code or ${DEVICE_CODE} where it contains refresh_token`);
  }
  if (grants.has('authorization_code') !== client.response_types.includes('code')) {
    object(['response_types'], 'must be ["code"] with the grant type authorization_code, and empty without');
  }
  if (grants.has('authorization_code') && client.redirect_uris.length === 0) {
    object(['redirect_uris'], 'must name at least one URI for the grant type authorization_code');
  }
  for (const member of OF_AUTHORIZATION_REQUESTS) {
    if (client[member] && !grants.has('authorization_code')) {
      object([member], 'is for clients with the grant type authorization_code');
    }
  }
  if (!grants.has('authorization_code') && client.redirect_uris.length > 0) {
    object(['redirect_uris'], 'must be empty without the grant type authorization_code');
  }
  for (const member of ['redirect_uris', 'post_logout_redirect_uris'] as const) {
    client[member].forEach((uri, index) => {
      const objection = objectionToRedirectUri(uri, client.application_type);
      if (objection) object([member, index], objection);
    });
  }
  if (client.jwks && client.jwks_uri) object(['jwks_uri'], 'must be left out where jwks is given');
  if (method === 'private_key_jwt' && !client.jwks && !client.jwks_uri) {
    object(['jwks'], 'must hold the public keys for private_key_jwt, or jwks_uri must say where they are');
  }
  if (client.token_endpoint_auth_signing_alg && method !== 'private_key_jwt') {
    object(['token_endpoint_auth_signing_alg'], 'is for clients that authenticate with private_key_jwt');
  }
  for (const member of ['request_object_signing_alg', 'require_signed_request_object'] as const) {
    if (client[member] && !client.jwks && !client.jwks_uri) {
      object(['jwks'], `must hold the public keys for ${member}, or jwks_uri must say where they are`);
    }
  }
  const names = client.resources.map((access) => access.resource);
  if (new Set(names).size !== names.length) object(['resources'], 'must not name a resource twice');
  if (new Set(client.introspects).size !== client.introspects.length)
    object(['introspects'], 'must not name a resource twice');
  if (client.introspects.length > 0 && method === 'none') {
    object(['introspects'], 'must be empty for a client that does not authenticate');
  }
  if (client.secret_rotation_days !== undefined && !usesSecret(client)) {
    object(['secret_rotation_days'], 'is for clients that authenticate with a secret');
  }
}

/** A client whose keys can't be read is registered and works nowhere. */
function isUsableKey(jwk: JsonWebKey): boolean {
  try {
    const { asymmetricKeyType, asymmetricKeyDetails } = createPublicKey({ key: jwk, format: 'jwk' });
    return asymmetricKeyType !== 'rsa' || (asymmetricKeyDetails?.modulusLength ?? 0) >= 2_048;
  } catch {
    return false;
  }
}
