/** Metadata members for back-channel logout (OpenID Connect Back-Channel Logout 1.0, 2.2). */
import { z } from 'zod';
import type { Check } from './check.ts';
import { DEVICE_CODE } from './flows.ts';
import { keysUrl } from './field_types.ts';

export const logout = {
  backchannel_logout_uri: keysUrl
    .refine((value) => !value.includes('#'), 'must not have a fragment')
    .optional()
    .describe('The URL to which this server posts a logout token when a session with the client ends.'),
  backchannel_logout_session_required: z
    .boolean()
    .optional()
    .describe(
      'Whether ID tokens and logout tokens must contain the session id (sid), so that the client can end that session only.',
    ),
};

export const checkLogout: Check<typeof logout> = (client, object) => {
  if (client.backchannel_logout_session_required && !client.backchannel_logout_uri) {
    object(['backchannel_logout_uri'], 'is required for backchannel_logout_session_required');
  }
  if (client.backchannel_logout_uri && client.redirect_uris.length === 0 && !client.grant_types.includes(DEVICE_CODE)) {
    object(['backchannel_logout_uri'], 'is only allowed for clients that people log in to');
  }
};
