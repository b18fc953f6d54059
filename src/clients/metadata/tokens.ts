/** What a client's tokens are like. */
import { z } from 'zod';
import { serverAlg } from './field_types.ts';

export const tokens = {
  scope: z
    .string()
    .max(200)
    .regex(
      /^(openid|profile|email|address|phone|offline_access)( (openid|profile|email|address|phone|offline_access))*$/,
      'must list scopes of OpenID Connect; name those of an API in resources',
    )
    .optional(),
  id_token_signed_response_alg: serverAlg.optional().describe('Left out: RS256.'),
  userinfo_signed_response_alg: serverAlg
    .optional()
    .describe('What answers of the userinfo endpoint are signed with. Left out: they are plain JSON.'),
  introspection_signed_response_alg: serverAlg
    .optional()
    .describe(
      'What introspection answers are signed with that the client asks for as JWT (RFC 9701). Left out: RS256.',
    ),
  dpop_bound_access_tokens: z
    .boolean()
    .optional()
    .describe('Whether every token of the client is bound to a key: without a DPoP proof it gets none (RFC 9449).'),
};
