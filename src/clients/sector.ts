/**
 * A client joins the sector of a `sector_identifier_uri` only when the document there lists every redirect URI of it
 * (OpenID Connect Core, 8.1), and the URL of its keys where it needs none (CIBA, 4): otherwise anybody could learn what people are called in somebody else's sector. Fetching
 * takes time, so it is done before the transaction, and what was fetched is held against the metadata inside it.
 */
import { z } from 'zod';
import { conflict, invalid } from '../base/refusal.ts';
import type { ClientMetadata } from './metadata/client_metadata.ts';
import { isWithoutRedirect } from './metadata/subjects.ts';

/**
 * Fetches a document that a client points to, through egress. `askedFrom` is the address of the request, unless an admin
 * asks: one network may have only so many fetches under way. Rejects with `NotFetched` where the URL does not lead to the
 * document, and with `Unavailable` where this node has too many fetches under way.
 */
export type FetchDocument = (url: string, askedFrom?: string) => Promise<Buffer>;

export class NotFetched extends Error {}

type OfSector = Pick<ClientMetadata, 'sector_identifier_uri' | 'redirect_uris' | 'grant_types' | 'jwks_uri'>;

export interface SectorDocument {
  readonly url: string;
  readonly listed: ReadonlySet<string>;
}

const PATH = '/sector_identifier_uri';
const Listed = z.array(z.string()).max(10_000);

/**
 * The document that this metadata needs, if it needs one anew: `before` is what the client was registered with so far.
 * Throws `Refused` when it is not as it should be.
 */
export async function readSector(
  metadata: OfSector,
  fetchDocument: (url: string) => Promise<Buffer>,
  before?: OfSector,
): Promise<SectorDocument | undefined> {
  const url = metadata.sector_identifier_uri;
  if (url === undefined || isVouchedFor(metadata, before)) return undefined;
  const text = await fetchDocument(url).catch((error: unknown) => {
    if (!(error instanceof NotFetched)) throw error;
    throw invalid(PATH, 'could not be fetched: it must be https on a public host and answer with status 200');
  });
  return { url, listed: listedIn(text) };
}

/** Throws `Refused` unless the document lists what it must, or nothing that it vouches for has changed. */
export function demandSector(metadata: OfSector, document: SectorDocument | undefined, before?: OfSector): void {
  const { sector_identifier_uri: url } = metadata;
  if (url === undefined || isVouchedFor(metadata, before)) return;
  if (document?.url !== url) throw conflict('The client was changed at the same moment. Try again.');
  if (!vouchedFor(metadata).every((uri) => document.listed.has(uri)))
    throw invalid(
      PATH,
      'must lead to a list of every redirect URI of the client, and of its jwks_uri where it needs none',
    );
}

function isVouchedFor(metadata: OfSector, before: OfSector | undefined): boolean {
  if (!before || before.sector_identifier_uri !== metadata.sector_identifier_uri) return false;
  const listed = vouchedFor(before);
  return vouchedFor(metadata).every((uri) => listed.includes(uri));
}

/** What says whose the client is: where people come back to, and the keys of one that needs nobody to come back. */
function vouchedFor(metadata: OfSector): readonly string[] {
  const { redirect_uris, jwks_uri } = metadata;
  return isWithoutRedirect(metadata) && jwks_uri !== undefined ? [...redirect_uris, jwks_uri] : redirect_uris;
}

function listedIn(text: Buffer): ReadonlySet<string> {
  try {
    return new Set(Listed.parse(JSON.parse(text.toString('utf8'))));
  } catch {
    throw invalid(PATH, 'must lead to a JSON array of redirect URIs');
  }
}
