/** Metadata members for backchannel authentication (CIBA, 4). */
import { z } from 'zod';
import { clientAlg, keysUrl } from './field_types.ts';
import { CIBA } from './flows.ts';
import type { Check } from './check.ts';

export const backchannelAuthentication = {
  backchannel_token_delivery_mode: z
    .enum(['poll', 'ping'], 'must be poll or ping')
    .optional()
    .describe(
      'poll: the client polls the token endpoint; ping: the server notifies the client when it can fetch the tokens.',
    ),
  backchannel_client_notification_endpoint: keysUrl
    .optional()
    .describe('The notification URL of a client with the delivery mode ping.'),
  backchannel_authentication_request_signing_alg: clientAlg
    .optional()
    .describe('The only algorithm for signed requests of the client. If set, the client must sign its requests.'),
};

const MEMBERS = Object.keys(backchannelAuthentication) as (keyof typeof backchannelAuthentication)[];

export const checkBackchannelAuthentication: Check<typeof backchannelAuthentication> = (client, object) => {
  if (!client.grant_types.includes(CIBA)) {
    for (const member of MEMBERS) {
      if (client[member] !== undefined) object([member], `is only allowed with the grant type ${CIBA}`);
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
    object(
      ['backchannel_client_notification_endpoint'],
      'is required for the delivery mode ping, and not allowed otherwise',
    );
  }
  if (client.backchannel_authentication_request_signing_alg && !client.jwks && !client.jwks_uri) {
    object(['jwks'], 'must contain the public keys for signed requests, unless jwks_uri names their location');
  }
};
