/** Metadata members for grant types and redirect URIs. */
import { z } from 'zod';
import { objectionToRedirectUri } from '../redirect_uri.ts';
import type { Check } from './check.ts';

/** Device authorization grant (RFC 8628). */
export const DEVICE_CODE = 'urn:ietf:params:oauth:grant-type:device_code';
/** Token exchange (RFC 8693). */
export const TOKEN_EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
/** JWT bearer grant (RFC 7523, 2.1). */
export const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
/** Backchannel authentication (CIBA). */
export const CIBA = 'urn:openid:params:grant-type:ciba';
export const GRANT_TYPES = [
  'authorization_code',
  'refresh_token',
  'client_credentials',
  DEVICE_CODE,
  TOKEN_EXCHANGE,
  JWT_BEARER,
  CIBA,
] as const;

/** Grant types that only confidential clients may use, because nothing else authenticates the request. */
const CONFIDENTIAL_ONLY = ['client_credentials', TOKEN_EXCHANGE, JWT_BEARER] as const;
/** Grant types that may issue a refresh token. */
const REFRESHABLE = ['authorization_code', DEVICE_CODE, CIBA] as const;

/**
 * Returns those of `asked` that `allowed` contains and that a client with this authentication method can use: without
 * authentication no grant type that requires it, and no refresh tokens without a grant type that issues them.
 */
export function usableGrantTypes(asked: readonly string[], allowed: readonly string[], authMethod: unknown): string[] {
  const confidential: readonly string[] = [...CONFIDENTIAL_ONLY, CIBA];
  const permitted = allowed.filter((grant) => authMethod !== 'none' || !confidential.includes(grant));
  const usable = new Set(asked.filter((grant) => permitted.includes(grant)));
  if (!REFRESHABLE.some((grant) => usable.has(grant))) usable.delete('refresh_token');
  return [...usable];
}

const uris = z.array(z.string()).max(50, 'must not name more than 50 URIs');

export const flows = {
  application_type: z.enum(['web', 'native'], 'must be web or native').default('web'),
  redirect_uris: uris.default([]),
  post_logout_redirect_uris: uris.default([]),
  grant_types: z
    .array(z.enum(GRANT_TYPES, `must be one of ${GRANT_TYPES.join(', ')}`))
    .max(GRANT_TYPES.length)
    .optional()
    .describe(
      'Default: authorization_code with redirect_uris, client_credentials without. An empty list: the client authenticates for introspection and revocation, and gets no token.',
    ),
  response_types: z.array(z.literal('code', 'must be code')).max(1).optional(),
};

export const checkFlows: Check<typeof flows> = (client, object) => {
  const grants = new Set<string>(client.grant_types);
  if (grants.size === 0 && client.token_endpoint_auth_method === 'none') {
    object(['grant_types'], 'must name at least one grant type for a client that does not authenticate');
  }
  if (grants.size !== client.grant_types.length) object(['grant_types'], 'must not name a grant type twice');
  for (const grant of CONFIDENTIAL_ONLY) {
    if (!grants.has(grant) || client.token_endpoint_auth_method !== 'none') continue;
    object(
      ['grant_types'],
      `must not contain ${grant} for a client that does not authenticate (token_endpoint_auth_method none)`,
    );
  }
  if (grants.has('refresh_token') && !REFRESHABLE.some((grant) => grants.has(grant))) {
    object(['grant_types'], `must contain ${REFRESHABLE.join(' or ')} if it contains refresh_token`);
  }
  if (grants.has('authorization_code') !== client.response_types.includes('code')) {
    object(
      ['response_types'],
      'must contain code alone with the grant type authorization_code, and be empty otherwise',
    );
  }
  if (grants.has('authorization_code') && client.redirect_uris.length === 0) {
    object(['redirect_uris'], 'must name at least one URI for the grant type authorization_code');
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
};
