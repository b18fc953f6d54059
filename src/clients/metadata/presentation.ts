/** Metadata members that describe a client to people. */
import { z } from 'zod';
import { canonicalEmail, EMAIL_ADDRESS, EMAIL_LIMIT } from '../../base/email_address.ts';
import { httpsUrl, text } from './field_types.ts';

const contact = z
  .string()
  .max(EMAIL_LIMIT, `must not be longer than ${EMAIL_LIMIT} characters`)
  .refine((address) => EMAIL_ADDRESS.test(canonicalEmail(address)), 'must be an email address');

export const presentation = {
  client_name: text(200).optional().describe('Shown to people at login and consent.'),
  client_uri: httpsUrl.optional(),
  logo_uri: z
    .never('is not supported: the pages of this server load no pictures from other hosts')
    .optional()
    .describe('Not supported. A client that registers itself may send it; the server ignores it.'),
  policy_uri: httpsUrl.optional(),
  tos_uri: httpsUrl.optional(),
  software_id: text(200).optional().describe('Identifies the software; the same for all its installations (RFC 7591).'),
  software_version: text(100).optional(),
  contacts: z.array(contact).max(20).optional(),
};
