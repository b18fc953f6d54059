/** How people are told about a client. */
import { z } from 'zod';
import { httpsUrl, text } from './field_types.ts';

export const presentation = {
  client_name: text(200).optional().describe('Shown to people at login and consent.'),
  client_uri: httpsUrl.optional(),
  logo_uri: httpsUrl.optional(),
  policy_uri: httpsUrl.optional(),
  tos_uri: httpsUrl.optional(),
  software_id: text(200).optional().describe('The same for all installations of one program (RFC 7591).'),
  software_version: text(100).optional(),
  contacts: z.array(z.email('must be an e-mail address').max(254)).max(20).optional(),
};
