/** Under which name a client gets to know people (OpenID Connect Core, 8). */
import { z } from 'zod';
import { keysUrl } from './pieces.ts';
import type { Check } from './client_metadata.ts';
import { DEVICE_CODE } from './flows.ts';

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
      'An https URL of a JSON array that lists every redirect URI: clients whose URLs have the same host share a sector. Fetched when it is registered.',
    ),
};

export const checkSubjects: Check = (client, object) => {
  const { grant_types, redirect_uris } = client;
  const forPeople = grant_types.includes('authorization_code') || grant_types.includes(DEVICE_CODE);
  for (const member of ['subject_type', 'sector_identifier_uri'] as const) {
    if (client[member] !== undefined && !forPeople) object([member], 'is for clients that people log in to');
  }
  if (client.subject_type !== 'pairwise' || client.sector_identifier_uri !== undefined) return;
  // what an app on a device has for a host (loopback, a scheme of its own) says nothing about who made it
  const hosts = new Set(redirect_uris.map((uri) => URL.parse(uri)?.host));
  if (client.application_type === 'native' || hosts.size !== 1) {
    object(
      ['sector_identifier_uri'],
      'must be given for pairwise subjects, unless the redirect URIs of a web application share one host',
    );
  }
};
