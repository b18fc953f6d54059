/**
 * Metadata members that say which people may use a client, whether they are asked, and what its tokens say of them. Only
 * an admin may set them.
 */
import { z } from 'zod';
import { ClaimMappings } from '../../base/claim_mappings.ts';
import { isLoopback } from '../../base/loopback.ts';
import type { Check } from './check.ts';

export const people = {
  allowed_groups: z
    .array(z.string().min(1, 'must not be empty').max(100))
    .min(1, 'must name at least one group; omit it if everybody may use the client')
    .max(100, 'must not name more than 100 groups')
    .optional()
    .describe('The ids of the groups whose members may use the client. Default: everybody.'),
  account_claims: z
    .array(z.enum(['groups', 'roles'], 'must be groups or roles'))
    .max(2)
    .optional()
    .describe(
      'Claims in ID tokens and at userinfo with the names of the person’s groups and roles. If there are more than 200 names, the ID token has the marker groups_omitted or roles_omitted, and userinfo has all.',
    ),
  claim_mappings: ClaimMappings.optional().describe(
    'Further claims in ID tokens and at userinfo. A member of the profile is given where the person has granted the scope that gives it.',
  ),
  first_party: z
    .boolean()
    .optional()
    .describe(
      'true: people are not asked for consent at this client, because it belongs to the owner of this server. They are asked all the same in the device flow, in backchannel requests, for authorization details and with prompt=consent.',
    ),
};

export const checkPeople: Check<typeof people> = (client, object) => {
  const { allowed_groups: groups, account_claims: claims = [], claim_mappings: mappings = [] } = client;
  if (groups && new Set(groups).size !== groups.length) object(['allowed_groups'], 'must not name a group twice');
  if (new Set(claims).size !== claims.length) object(['account_claims'], 'must not name a claim twice');
  mappings.forEach(({ claim }, index) => {
    if (claims.some((one) => one === claim)) object(['claim_mappings', index, 'claim'], 'is in account_claims already');
  });
  checkFirstParty(client, object);
};

const checkFirstParty: Check<typeof people> = (client, object) => {
  if (!client.first_party) return;
  if (!client.grant_types.includes('authorization_code'))
    object(['first_party'], 'is only allowed with the grant type authorization_code');
  if (client.token_endpoint_auth_method === 'none' && client.redirect_uris.some(isOnDevice))
    object(
      ['first_party'],
      'is not allowed for a client that does not authenticate and has a redirect URI on a loopback address or with a private-use scheme, because any program on the device can pose as it',
    );
};

function isOnDevice(redirectUri: string): boolean {
  const url = URL.parse(redirectUri);
  return url?.protocol !== 'https:' || isLoopback(url.hostname);
}
