/** Metadata members for a client's authorization requests and the responses to them. */
import { z } from 'zod';
import { ONE_OF_REQUIRABLE_ACRS, REQUIRABLE_ACRS } from '../../base/acr_values.ts';
import { ONE_OF_RESPONSE_MODES, RESPONSE_MODES } from '../../base/response_modes.ts';
import { clientAlg, serverAlg } from './field_types.ts';
import type { Check } from './check.ts';

export const authorizationRequests = {
  require_pushed_authorization_requests: z
    .boolean()
    .optional()
    .describe('Whether the client must push every authorization request (RFC 9126).'),
  request_object_signing_alg: clientAlg
    .optional()
    .describe('The only algorithm for request objects of the client (RFC 9101).'),
  require_signed_request_object: z
    .boolean()
    .optional()
    .describe('Whether the client must sign every authorization request (RFC 9101).'),
  authorization_signed_response_alg: serverAlg
    .optional()
    .describe('The signing algorithm of authorization responses as JWT (JARM). Default: RS256. ML-DSA is refused.'),
  response_modes: z
    .array(z.enum(RESPONSE_MODES, ONE_OF_RESPONSE_MODES))
    .min(1, 'must name at least one response mode')
    .max(RESPONSE_MODES.length)
    .refine((all) => new Set(all).size === all.length, 'must not name a response mode twice')
    .optional()
    .describe('Response modes that the client may use. Default: all modes of this server.'),
  default_max_age: z.int().min(0).max(31_536_000).optional(),
  require_auth_time: z.boolean().optional(),
  required_acr: z
    .enum(REQUIRABLE_ACRS, ONE_OF_REQUIRABLE_ACRS)
    .optional()
    .describe('The authentication context that each login for the client needs. Default: a password is enough.'),
};

/** Members that only apply to clients with the authorization code grant. */
const CODE_FLOW_MEMBERS = [
  'require_pushed_authorization_requests',
  'request_object_signing_alg',
  'require_signed_request_object',
  'authorization_signed_response_alg',
  'response_modes',
] as const;

export const checkAuthorizationRequests: Check<typeof authorizationRequests> = (client, object) => {
  for (const member of CODE_FLOW_MEMBERS) {
    if (client[member] && !client.grant_types.includes('authorization_code')) {
      object([member], 'is only allowed with the grant type authorization_code');
    }
  }
  for (const member of ['request_object_signing_alg', 'require_signed_request_object'] as const) {
    if (client[member] && !client.jwks && !client.jwks_uri) {
      object(['jwks'], `must contain the public keys for ${member}, unless jwks_uri names their location`);
    }
  }
};
