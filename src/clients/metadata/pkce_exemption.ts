/** The exemption of a client from PKCE, which OAuth 2.1 requires of every client. Only an admin may set it. */
import { z } from 'zod';
import type { Check } from './check.ts';
import { text } from './field_types.ts';

export const pkceExemption = {
  pkce_exemption: z
    .strictObject({ reason: text(500).describe('The reason for the exemption, for later reviews.') })
    .optional()
    .describe(
      'Allows a client that authenticates to omit PKCE, which OAuth 2.1 requires of every client. Only for software that does not support PKCE. If the client sends a challenge, the server still checks it.',
    ),
};

export const checkPkceExemption: Check<typeof pkceExemption> = (client, object) => {
  if (!client.pkce_exemption) return;
  if (!client.grant_types.includes('authorization_code')) {
    object(['pkce_exemption'], 'is only allowed with the grant type authorization_code');
  }
  if (client.token_endpoint_auth_method === 'none') {
    object(
      ['pkce_exemption'],
      'is only allowed for clients that authenticate, because otherwise nothing protects their codes',
    );
  }
};
