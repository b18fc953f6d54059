/** What a client's authorization requests must be like, and the responses to them. */
import { z } from 'zod';
import { ONE_OF_RESPONSE_MODES, RESPONSE_MODES } from '../../base/response_modes.ts';
import { clientAlg, serverAlg, text } from './field_types.ts';
import type { Check } from './check.ts';

export const authorizationRequests = {
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
  authorization_signed_response_alg: serverAlg
    .optional()
    .describe('What authorization responses are signed with that the client asks for as JWT (JARM). Left out: RS256.'),
  response_modes: z
    .array(z.enum(RESPONSE_MODES, ONE_OF_RESPONSE_MODES))
    .min(1, 'must name at least one response mode')
    .max(RESPONSE_MODES.length)
    .refine((all) => new Set(all).size === all.length, 'must not name a response mode twice')
    .optional()
    .describe('How authorization responses may come back to the client. Left out: in every mode of this server.'),
  pkce_exemption: z
    .strictObject({ reason: text(500).describe('Why, for whoever asks later.') })
    .optional()
    .describe(
      'Lets a client that authenticates leave out PKCE, which OAuth 2.1 wants of every client. Only for software that can’t do it. Whoever sends a challenge all the same is held to it.',
    ),
  default_max_age: z.int().min(0).max(31_536_000).optional(),
  require_auth_time: z.boolean().optional(),
};

/** What says nothing about a client that makes no such request. */
const OF_REQUESTS_ALONE = [
  'require_pushed_authorization_requests',
  'request_object_signing_alg',
  'require_signed_request_object',
  'authorization_signed_response_alg',
  'response_modes',
  'pkce_exemption',
] as const;

export const checkAuthorizationRequests: Check<typeof authorizationRequests> = (client, object) => {
  for (const member of OF_REQUESTS_ALONE) {
    if (client[member] && !client.grant_types.includes('authorization_code')) {
      object([member], 'is for clients with the grant type authorization_code');
    }
  }
  if (client.pkce_exemption && client.token_endpoint_auth_method === 'none') {
    object(['pkce_exemption'], 'is for clients that authenticate: nothing else would protect the codes of this one');
  }
  for (const member of ['request_object_signing_alg', 'require_signed_request_object'] as const) {
    if (client[member] && !client.jwks && !client.jwks_uri) {
      object(['jwks'], `must hold the public keys for ${member}, or jwks_uri must say where they are`);
    }
  }
};
