/** Under which name a client gets to know people (OpenID Connect Core, 8). */
import { z } from 'zod';
import { keysUrl } from './field_types.ts';
import type { Check } from './check.ts';
import { CIBA, DEVICE_CODE, type flows } from './flows.ts';

export const subjects = {
  subject_type: z
    .enum(['public', 'pairwise'], 'must be public or pairwise')
    .optional()
    .describe(
      'Whether people have one sub for all clients (public, the default), or another one in each sector (pairwise). Changing it ends the grants of the client.',
    ),
  sector_identifier_uri: keysUrl
    .optional()
    .describe(
      'An https URL of a JSON array that lists every redirect URI, and the jwks_uri of a client that needs none (device flow, CIBA): clients whose URLs have the same host share a sector. Fetched when it is registered.',
    ),
};

export const checkSubjects: Check<typeof subjects & typeof flows> = (client, object) => {
  const { grant_types, redirect_uris } = client;
  const forPeople = grant_types.includes('authorization_code') || isWithoutRedirect(client);
  for (const member of ['subject_type', 'sector_identifier_uri'] as const) {
    if (client[member] !== undefined && !forPeople) object([member], 'is for clients that people log in to');
  }
  // whose such a client is no redirect says: the host of its keys has to (CIBA, 4)
  if (client.sector_identifier_uri !== undefined && isWithoutRedirect(client) && client.jwks_uri === undefined) {
    object(
      ['jwks_uri'],
      'must be given beside sector_identifier_uri with the device flow or CIBA, and be listed there',
    );
  }
  if (client.subject_type !== 'pairwise' || client.sector_identifier_uri !== undefined) return;
  // what an app on a device has for a host (loopback, a scheme of its own) says nothing about who made it, and a host
  // of redirect URIs nothing about who polls for a device; who may ask by CIBA is an admin's choice
  const hosts = new Set(redirect_uris.map((uri) => URL.parse(uri)?.host));
  if (client.application_type === 'native' || hosts.size !== 1 || grant_types.includes(DEVICE_CODE)) {
    object(
      ['sector_identifier_uri'],
      'must be given for pairwise subjects, unless people only come back to redirect URIs of a web application that share one host',
    );
  }
};

/** Whether it learns who somebody is without their coming back to an address of its own. */
export function isWithoutRedirect({ grant_types }: { readonly grant_types: readonly string[] }): boolean {
  return grant_types.includes(DEVICE_CODE) || grant_types.includes(CIBA);
}
