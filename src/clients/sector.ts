/**
 * A client joins the sector of a `sector_identifier_uri` only when the document there lists every redirect URI of it
 * (OpenID Connect Core, 8.1): otherwise anybody could learn what people are called in somebody else's sector. Fetching
 * takes time, so it is done before the transaction, and what was fetched is held against the metadata inside it.
 */
import { z } from 'zod';
import { conflict, invalid } from '../base/refusal.ts';
import type { ClientMetadata } from './metadata/client_metadata.ts';

/** Fetches what a client points to, through the guarded way out; rejects when there is nothing to be had. */
export type FetchDocument = (url: string) => Promise<Buffer>;

type OfSector = Pick<ClientMetadata, 'sector_identifier_uri' | 'redirect_uris'>;

export interface SectorDocument {
  readonly url: string;
  readonly redirectUris: ReadonlySet<string>;
}

const PATH = '/sector_identifier_uri';
const Listed = z.array(z.string()).max(10_000);

/**
 * The document that this metadata needs, if it needs one anew: `before` is what the client was registered with so far.
 * Throws `Refused` when it is not as it should be.
 */
export async function readSector(
  metadata: OfSector,
  fetchDocument: FetchDocument,
  before?: OfSector,
): Promise<SectorDocument | undefined> {
  const url = metadata.sector_identifier_uri;
  if (url === undefined || isVouchedFor(metadata, before)) return undefined;
  const text = await fetchDocument(url).catch(() => {
    throw invalid(PATH, 'could not be fetched: it must be https on a public host and answer with status 200');
  });
  return { url, redirectUris: listedIn(text) };
}

/** Throws `Refused` unless the document lists what it must, or nothing that it vouches for has changed. */
export function demandSector(metadata: OfSector, document: SectorDocument | undefined, before?: OfSector): void {
  const { sector_identifier_uri: url, redirect_uris } = metadata;
  if (url === undefined || isVouchedFor(metadata, before)) return;
  if (document?.url !== url) throw conflict('The client was changed at the same moment. Try again.');
  if (!redirect_uris.every((uri) => document.redirectUris.has(uri)))
    throw invalid(PATH, 'must lead to a list of every redirect URI of the client');
}

function isVouchedFor({ sector_identifier_uri, redirect_uris }: OfSector, before: OfSector | undefined): boolean {
  if (before?.sector_identifier_uri !== sector_identifier_uri) return false;
  return redirect_uris.every((uri) => before?.redirect_uris.includes(uri));
}

function listedIn(text: Buffer): ReadonlySet<string> {
  try {
    return new Set(Listed.parse(JSON.parse(text.toString('utf8'))));
  } catch {
    throw invalid(PATH, 'must lead to a JSON array of redirect URIs');
  }
}
