/** Metadata members for client authentication. */
import { z } from 'zod';
import { clientAlg, keysUrl } from './field_types.ts';
import { PublicJwk } from './public_jwk.ts';
import type { Check } from './check.ts';

export const AUTH_METHODS = [
  'client_secret_basic',
  'client_secret_post',
  'private_key_jwt',
  'tls_client_auth',
  'self_signed_tls_client_auth',
  'none',
] as const;

export const assertionAudience = z.enum(['issuer', 'endpoints'], 'must be issuer or endpoints');

export const authentication = {
  token_endpoint_auth_method: z
    .enum(AUTH_METHODS, `must be one of ${AUTH_METHODS.join(', ')}`)
    .default('client_secret_basic'),
  token_endpoint_auth_signing_alg: clientAlg.optional(),
  assertion_audience: assertionAudience
    .optional()
    .describe(
      "The audience of the client's assertions (private_key_jwt). issuer (default): the issuer only; endpoints: also the token endpoint or the called endpoint, for software that can send nothing else. Only an admin or a registration policy sets it.",
    ),
  jwks: z
    .strictObject({
      keys: z.array(PublicJwk).min(1, 'must contain at least one key').max(10, 'must not contain more than 10 keys'),
    })
    .optional(),
  jwks_uri: keysUrl.optional(),
  secret_rotation_days: z
    .int('must be a whole number of days')
    .min(1, 'must be at least 1 day')
    .max(365, 'must be at most 365 days')
    .optional()
    .describe('Maximum age of the newest secret, in days, before the client counts as overdue for rotation.'),
};

/** Whether the client authenticates with a shared secret. */
export function usesSecret(metadata: { readonly token_endpoint_auth_method: string }): boolean {
  return metadata.token_endpoint_auth_method.startsWith('client_secret_');
}

export const checkAuthentication: Check<typeof authentication> = (client, object) => {
  const method = client.token_endpoint_auth_method;
  if (client.jwks && client.jwks_uri) object(['jwks_uri'], 'must be absent if jwks is given');
  if (method === 'private_key_jwt' && !client.jwks && !client.jwks_uri) {
    object(['jwks'], 'must contain the public keys for private_key_jwt, unless jwks_uri names their location');
  }
  if (client.token_endpoint_auth_signing_alg && method !== 'private_key_jwt') {
    object(['token_endpoint_auth_signing_alg'], 'is only allowed for clients that authenticate with private_key_jwt');
  }
  if (client.assertion_audience && method !== 'private_key_jwt') {
    object(['assertion_audience'], 'is only allowed for clients that authenticate with private_key_jwt');
  }
  if (client.secret_rotation_days !== undefined && !usesSecret(client)) {
    object(['secret_rotation_days'], 'is only allowed for clients that authenticate with a secret');
  }
};
