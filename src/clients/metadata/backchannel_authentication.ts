/** How a client asks people who are not at the application, and hears of their decision (CIBA, 4). */
import { z } from 'zod';
import { clientAlg, keysUrl } from './field_types.ts';
import { CIBA } from './flows.ts';
import type { Check } from './check.ts';

export const backchannelAuthentication = {
  backchannel_token_delivery_mode: z
    .enum(['poll', 'ping'], 'must be poll or ping')
    .optional()
    .describe('Whether the client asks for the tokens every few seconds, or is told when to fetch them.'),
  backchannel_client_notification_endpoint: keysUrl
    .optional()
    .describe('Where a client with the delivery mode ping is told.'),
  backchannel_authentication_request_signing_alg: clientAlg
    .optional()
    .describe('The one algorithm that the client’s requests are signed with. Then none that isn’t signed is taken.'),
};

const MEMBERS = Object.keys(backchannelAuthentication) as (keyof typeof backchannelAuthentication)[];

export const checkBackchannelAuthentication: Check<typeof backchannelAuthentication> = (client, object) => {
  if (!client.grant_types.includes(CIBA)) {
    for (const member of MEMBERS) {
      if (client[member] !== undefined) object([member], `is for clients with the grant type ${CIBA}`);
    }
    return;
  }
  const mode = client.backchannel_token_delivery_mode;
  if (client.token_endpoint_auth_method === 'none') {
    object(['grant_types'], `must not contain ${CIBA} for a client that does not authenticate`);
  }
  if (mode === undefined)
    object(['backchannel_token_delivery_mode'], `must be poll or ping with the grant type ${CIBA}`);
  if ((mode === 'ping') !== (client.backchannel_client_notification_endpoint !== undefined)) {
    object(['backchannel_client_notification_endpoint'], 'must be there for the delivery mode ping, and not otherwise');
  }
  if (client.backchannel_authentication_request_signing_alg && !client.jwks && !client.jwks_uri) {
    object(['jwks'], 'must hold the public keys that requests are signed with, or jwks_uri must say where they are');
  }
};
