/**
 * Sectors of pairwise subjects. A client joins the sector of a `sector_identifier_uri` only if its document lists all
 * the client's redirect URIs (OpenID Connect Core, 8.1), and its `jwks_uri` if it needs no redirect URI (CIBA, 4);
 * otherwise a client could learn the subjects of a foreign sector. The document is fetched before the transaction,
 * because that takes time, and compared with the metadata inside it.
 */
import { z } from 'zod';
import { conflict, invalid } from '../base/refusal.ts';
import type { ClientMetadata } from './metadata/client_metadata.ts';
import { isWithoutRedirect } from './metadata/subjects.ts';

/**
 * Fetches a document of a client through the guarded egress. `askedFrom` is the address of the request, unless an admin
 * sent it: the number of simultaneous fetches of one network is limited. Rejects with `NotFetched` if the URL does not
 * lead to the document, and with `Unavailable` if this node has too many fetches under way.
 */
export type FetchDocument = (url: string, askedFrom?: string) => Promise<Buffer>;

export class NotFetched extends Error {}

type SectorMetadata = Pick<ClientMetadata, 'sector_identifier_uri' | 'redirect_uris' | 'grant_types' | 'jwks_uri'>;

export interface SectorDocument {
  readonly url: string;
  readonly listed: ReadonlySet<string>;
}

const PATH = '/sector_identifier_uri';
const Listed = z.array(z.string()).max(10_000);

/**
 * Fetches the sector document if the metadata needs it and `before`, the metadata so far, does not already cover it.
 * Throws `Refused` if it cannot be fetched or is invalid.
 */
export async function readSector(
  metadata: SectorMetadata,
  fetchDocument: (url: string) => Promise<Buffer>,
  before?: SectorMetadata,
): Promise<SectorDocument | undefined> {
  const url = metadata.sector_identifier_uri;
  if (url === undefined || isCovered(metadata, before)) return undefined;
  const text = await fetchDocument(url).catch((error: unknown) => {
    if (!(error instanceof NotFetched)) throw error;
    throw invalid(PATH, 'could not be fetched; it must be an https URL on a public host that responds with status 200');
  });
  return { url, listed: listedIn(text) };
}

/** Throws `Refused` unless the document lists all required URIs, or `before` already covers them. */
export function requireSector(
  metadata: SectorMetadata,
  document: SectorDocument | undefined,
  before?: SectorMetadata,
): void {
  const { sector_identifier_uri: url } = metadata;
  if (url === undefined || isCovered(metadata, before)) return;
  if (document?.url !== url) throw conflict('The client was changed concurrently. Try again.');
  if (!requiredUris(metadata).every((uri) => document.listed.has(uri)))
    throw invalid(
      PATH,
      'must return a list of every redirect URI of the client, and of its jwks_uri if it needs no redirect URI',
    );
}

function isCovered(metadata: SectorMetadata, before: SectorMetadata | undefined): boolean {
  if (!before || before.sector_identifier_uri !== metadata.sector_identifier_uri) return false;
  const listed = requiredUris(before);
  return requiredUris(metadata).every((uri) => listed.includes(uri));
}

/**
 * Returns the URIs that the document must list: all redirect URIs, and the keys of a client that needs no redirect URI.
 */
function requiredUris(metadata: SectorMetadata): readonly string[] {
  const { redirect_uris, jwks_uri } = metadata;
  return isWithoutRedirect(metadata) && jwks_uri !== undefined ? [...redirect_uris, jwks_uri] : redirect_uris;
}

function listedIn(text: Buffer): ReadonlySet<string> {
  try {
    return new Set(Listed.parse(JSON.parse(text.toString('utf8'))));
  } catch {
    throw invalid(PATH, 'must return a JSON array of URIs');
  }
}
