/**
 * The `sub` of a person in tokens: the account id, or for pairwise clients a keyed digest of the account id and the
 * client's sector (OpenID Connect Core, 8.1), so that two sectors cannot correlate a person.
 */
import type { Digest } from '../base/secret.ts';
import type { Client } from './client.ts';
import type { ClientMetadata } from './metadata/client_metadata.ts';

/** Returns the `sub` of an account for a client; permanent, and the same on every node. */
export type Subjects = (accountId: string, client: Pick<Client, 'metadata'>) => string;

export function createSubjects(key: { digest(value: string): Digest }): Subjects {
  return (accountId, { metadata }) => {
    const sector = sectorOf(metadata);
    // neither a host nor an id contains a line break
    return sector === undefined ? accountId : key.digest(`${sector}\n${accountId}`).toString('base64url');
  };
}

/** Returns the host that identifies the client's sector; `undefined` for public subjects. */
export function sectorOf({ subject_type, sector_identifier_uri, redirect_uris }: ClientMetadata): string | undefined {
  if (subject_type !== 'pairwise') return undefined;
  return new URL(sector_identifier_uri ?? redirect_uris[0]!).host;
}
