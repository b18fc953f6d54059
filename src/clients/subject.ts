/**
 * What a person is called in tokens (`sub`): the account's id, or for pairwise clients a keyed digest of it and the
 * client's sector (OpenID Connect Core, 8.1). Two sectors can't tell from it that they know the same person.
 */
import type { Digest } from '../base/secret.ts';
import type { Client } from './client.ts';
import type { ClientMetadata } from './metadata/client_metadata.ts';

/** The `sub` of an account as this client gets to see it; the same on every node, for ever. */
export type Subjects = (accountId: string, client: Pick<Client, 'metadata'>) => string;

export function subjectsUnder(key: { digest(value: string): Digest }): Subjects {
  return (accountId, { metadata }) => {
    const sector = sectorOf(metadata);
    // neither a host nor an id has a line break
    return sector === undefined ? accountId : key.digest(`${sector}\n${accountId}`).toString('base64url');
  };
}

/** The host that stands for all clients which know people under the same names; `undefined` for public subjects. */
export function sectorOf({ subject_type, sector_identifier_uri, redirect_uris }: ClientMetadata): string | undefined {
  if (subject_type !== 'pairwise') return undefined;
  return new URL(sector_identifier_uri ?? redirect_uris[0]!).host;
}
