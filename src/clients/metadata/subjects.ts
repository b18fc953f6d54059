/** Metadata members for subject identifiers (OpenID Connect Core, 8). */
import { z } from 'zod';
import { keysUrl } from './field_types.ts';
import type { Check } from './check.ts';
import { CIBA, DEVICE_CODE, type flows } from './flows.ts';

export const subjects = {
  subject_type: z
    .enum(['public', 'pairwise'], 'must be public or pairwise')
    .optional()
    .describe(
      'public (default): a person has the same sub for all clients. pairwise: a person has another sub in each sector. Changing it ends the grants of the client.',
    ),
  sector_identifier_uri: keysUrl
    .optional()
    .describe(
      'The https URL of a JSON array that lists every redirect URI of the client, and its jwks_uri if the client needs no redirect URI (device flow, CIBA). Clients whose URLs have the same host share a sector. The server fetches it at registration.',
    ),
};

export const checkSubjects: Check<typeof subjects & typeof flows> = (client, object) => {
  const { grant_types, redirect_uris } = client;
  const forPeople = grant_types.includes('authorization_code') || isWithoutRedirect(client);
  for (const member of ['subject_type', 'sector_identifier_uri'] as const) {
    if (client[member] !== undefined && !forPeople)
      object([member], 'is only allowed for clients that people log in to');
  }
  // no redirect URI shows who owns such a client, so the host of its keys must (CIBA, 4)
  if (client.sector_identifier_uri !== undefined && isWithoutRedirect(client) && client.jwks_uri === undefined) {
    object(
      ['jwks_uri'],
      'is required with sector_identifier_uri for the device flow or CIBA, and must be listed there',
    );
  }
  if (client.subject_type !== 'pairwise' || client.sector_identifier_uri !== undefined) return;
  // the host of an app on a device (loopback, private-use scheme) does not identify its vendor, and a redirect host does
  // not identify a client that polls for a device; an admin decides who may use CIBA
  const hosts = new Set(redirect_uris.map((uri) => URL.parse(uri)?.host));
  if (client.application_type === 'native' || hosts.size !== 1 || grant_types.includes(DEVICE_CODE)) {
    object(
      ['sector_identifier_uri'],
      'is required for pairwise subjects, unless the client is a web application whose redirect URIs share one host and it has no device flow',
    );
  }
};

/** Whether the client gets a person's identity without a redirect to its own URI. */
export function isWithoutRedirect({ grant_types }: { readonly grant_types: readonly string[] }): boolean {
  return grant_types.includes(DEVICE_CODE) || grant_types.includes(CIBA);
}
