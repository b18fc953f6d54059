/**
 * Security profile of a client. `fapi2` is the FAPI 2.0 Security Profile: this file sets its defaults and refuses
 * metadata that contradicts it; rules for requests are checked at the endpoints.
 */
import { z } from 'zod';
import { CIBA, DEVICE_CODE } from './flows.ts';
import type { authentication } from './client_authentication.ts';
import type { authorizationRequests } from './authorization_requests.ts';
import type { Check } from './check.ts';
import type { mutualTls } from './mutual_tls.ts';
import type { tokens } from './tokens.ts';

export const securityProfile = {
  profile: z
    .enum(['fapi2'], 'must be fapi2')
    .optional()
    .describe('fapi2: the client and all its requests must comply with the FAPI 2.0 Security Profile.'),
};

/** FAPI 2.0, 5.4.1. The profile's EdDSA is Ed25519 (RFC 9864). */
const FAPI2_ALGS: ReadonlySet<string> = new Set(['ES256', 'PS256', 'Ed25519', 'EdDSA']);
const FAPI2_AUTH_METHODS: ReadonlySet<string> = new Set([
  'private_key_jwt',
  'tls_client_auth',
  'self_signed_tls_client_auth',
]);
/** Maximum lifetime of access tokens of such a client, even if the resource allows more. */
export const FAPI2_ACCESS_TOKEN_SECONDS = 600;

export function isFapi2({ profile }: { readonly profile?: 'fapi2' | undefined }): boolean {
  return profile === 'fapi2';
}

/** Whether such a client may sign with the algorithm or receive signatures with it. */
export function isFapi2Alg(alg: unknown): boolean {
  return typeof alg === 'string' && FAPI2_ALGS.has(alg);
}

/** Returns the defaults of the profile for members that are not set. */
export function fapi2Defaults(grantTypes: readonly string[]) {
  if (!grantTypes.includes('authorization_code')) return {};
  return {
    require_pushed_authorization_requests: true,
    id_token_signed_response_alg: 'ES256',
    authorization_signed_response_alg: 'ES256',
  } as const;
}

const ALG_MEMBERS = [
  'token_endpoint_auth_signing_alg',
  'request_object_signing_alg',
  'id_token_signed_response_alg',
  'userinfo_signed_response_alg',
  'introspection_signed_response_alg',
  'authorization_signed_response_alg',
] as const;

export const checkSecurityProfile: Check<
  typeof securityProfile & typeof authentication & typeof authorizationRequests & typeof mutualTls & typeof tokens
> = (client, object) => {
  if (!isFapi2(client)) return;
  if (!FAPI2_AUTH_METHODS.has(client.token_endpoint_auth_method)) {
    object(['token_endpoint_auth_method'], `must be one of ${[...FAPI2_AUTH_METHODS].join(', ')} for profile fapi2`);
  }
  if (!client.dpop_bound_access_tokens && !client.tls_client_certificate_bound_access_tokens) {
    object(
      ['dpop_bound_access_tokens'],
      'or tls_client_certificate_bound_access_tokens must be true for profile fapi2',
    );
  }
  if (client.grant_types.includes('authorization_code') && !client.require_pushed_authorization_requests) {
    object(['require_pushed_authorization_requests'], 'must be true for profile fapi2');
  }
  if (client.grant_types.includes(DEVICE_CODE)) {
    object(['grant_types'], `must not contain ${DEVICE_CODE} for profile fapi2: its requests cannot be pushed`);
  }
  if (client.grant_types.includes(CIBA)) {
    object(['grant_types'], `must not contain ${CIBA} for profile fapi2: FAPI-CIBA is a separate profile`);
  }
  if (client.pkce_exemption) object(['pkce_exemption'], 'must be absent for profile fapi2, which requires PKCE');
  if (client.assertion_audience === 'endpoints')
    object(['assertion_audience'], 'must be issuer for profile fapi2, whose assertions are for the issuer only');
  for (const member of ALG_MEMBERS) {
    const alg = client[member];
    if (alg && !isFapi2Alg(alg)) object([member], 'must be ES256, PS256, Ed25519 or EdDSA for profile fapi2');
  }
  client.redirect_uris.forEach((uri, index) => {
    if (!uri.startsWith('https:')) object(['redirect_uris', index], 'must use https for profile fapi2');
  });
};
