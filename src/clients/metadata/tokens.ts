/** What a client's tokens are like. */
import { z } from 'zod';
import { serverAlg } from './pieces.ts';

export const tokens = {
  scope: z
    .string()
    .max(200)
    .regex(
      /^(openid|profile|email|address|phone|offline_access)( (openid|profile|email|address|phone|offline_access))*$/,
      'must list scopes of OpenID Connect; name those of an API in resources',
    )
    .optional(),
  id_token_signed_response_alg: serverAlg.optional(),
  userinfo_signed_response_alg: serverAlg
    .optional()
    .describe('What userinfo is signed with for this client. Left out: it is JSON, and not signed.'),
  dpop_bound_access_tokens: z
    .boolean()
    .optional()
    .describe('Whether every token of the client is bound to a key: without a DPoP proof it gets none (RFC 9449).'),
};
