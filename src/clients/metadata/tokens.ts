/** Metadata members for the tokens of a client. */
import { z } from 'zod';
import { serverAlg } from './field_types.ts';

export const tokens = {
  scope: z
    .string()
    .max(200)
    // as in a request (oidc/request/normal_parameters.ts)
    .overwrite((text) => text.replaceAll(/ +/g, ' ').trim())
    .regex(
      /^(openid|profile|email|address|phone|offline_access)( (openid|profile|email|address|phone|offline_access))*$/,
      'must contain only scopes of OpenID Connect; name scopes of an API in resources',
    )
    .optional(),
  id_token_signed_response_alg: serverAlg
    .optional()
    .describe('Default: RS256. ML-DSA is refused, unless the client has it from an earlier release.'),
  userinfo_signed_response_alg: serverAlg
    .optional()
    .describe('The signing algorithm of userinfo responses. Default: plain JSON. ML-DSA is refused.'),
  introspection_signed_response_alg: serverAlg
    .optional()
    .describe('The signing algorithm of introspection responses as JWT (RFC 9701). Default: RS256. ML-DSA is refused.'),
  id_token_claims: z
    .enum(['full', 'minimal'], 'must be full or minimal')
    .optional()
    .describe(
      'full: the ID token has the claims of all granted scopes. minimal: it has those of openid, and the others are at userinfo (OpenID Connect Core, 5.4). Default: full.',
    ),
  userinfo_audience: z
    .boolean()
    .optional()
    .describe(
      'false: no access token of the client for an API is for userinfo too. Default: a request for openid and scopes of an API that names no resource gets one token for both.',
    ),
  dpop_bound_access_tokens: z
    .boolean()
    .optional()
    .describe(
      'Whether the server binds every token of the client to a key, and issues none without a DPoP proof (RFC 9449).',
    ),
};
