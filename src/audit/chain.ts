/**
 * What is hashed. An entry is an event with its place: the number it has in its stream. A link covers the entries that
 * were written together: it lists their hashes and names the link before it, so that nothing below a link can change
 * without the link's own hash changing too. Both are plain JSON, hashed as canonical text (see canonical.ts);
 * docs/audit-trail.md says all of this again for those who write a verifier of their own.
 */
import { timeOrderedUuid } from '../base/ids.ts';
import { canonical, sha256 } from './canonical.ts';

export interface Entry {
  readonly stream: string;
  /** 1 for a stream's first entry, and then one more each: no number is left out. */
  readonly sequence: number;
  readonly occurred_at: string;
  readonly event: string;
  readonly outcome: 'success' | 'refused';
  readonly actor: { readonly type: 'client' | 'account' | 'system' | 'anonymous'; readonly id?: string };
  readonly account_id: string | null;
  readonly client_id: string | null;
  readonly address: string | null;
  readonly request_id: string | null;
  readonly details: Readonly<Record<string, unknown>>;
}

/** An entry that has no place yet; the members of `actor` and `details` in the order of their names. */
export type Draft = Omit<Entry, 'stream' | 'sequence'>;

export interface Link {
  readonly stream: string;
  /** 1 for a stream's first link, and then one more each. */
  readonly number: number;
  /** The hash of the link before; null for the first. */
  readonly previous: string | null;
  /** The sequence of the first entry that it covers; the others follow without a gap. */
  readonly first: number;
  /** When the earliest of its entries occurred. */
  readonly begins_at: string;
  /** The hashes of the entries, in order. */
  readonly entries: readonly string[];
}

export const HASH_BYTES = 32;
/** How many entries are written together at most. */
export const BATCH_LIMIT = 500;

/** SHA-256 of the canonical text: what entries, links and checkpoints are named by, in base64url. */
export function hashOf(value: Entry | Link): string {
  return sha256(canonical(value)).toString('base64url');
}

/** Entries and the link that covers them, ready to be written in one statement. */
export interface Batch {
  readonly entries: readonly Entry[];
  /** The entries' canonical texts as one JSON array. */
  readonly text: string;
  readonly link: Link;
  /** The entries' hashes, one after the other. */
  readonly hashes: Buffer;
  /** The link's hash. */
  readonly hash: string;
  /** The database that its stream began in (db/identity.ts), which has the links before; `undefined`: not known. */
  readonly database: string | undefined;
}

/** Where a stream stands: its last link. */
export interface Head {
  readonly number: number;
  readonly hash: string;
  readonly begins_at: string;
  /** The number of its last entry. */
  readonly sequence: number;
  /** Which database took it; `undefined` where that is not known. */
  readonly database: string | undefined;
}

/**
 * A chain under way, held by the one who writes it. What `append` gives out must be on disk before anything is appended
 * to it; where that is not sure the stream is given up, and another one begun.
 */
export class Stream {
  readonly id: string;
  readonly beganAt: Date;
  readonly database: string | undefined;
  #sequence = 0;
  #head: Pick<Head, 'number' | 'hash'> = { number: 0, hash: '' };

  /** `database`: what a link goes to that names another one. */
  constructor(now: Date, database: string | undefined) {
    this.id = timeOrderedUuid(now);
    this.beganAt = now;
    this.database = database;
  }

  append(drafts: readonly [Draft, ...Draft[]]): Batch {
    const first = this.#sequence + 1;
    const entries = drafts.map((draft) => inOrder(draft, ++this.#sequence, this.id));
    const texts = entries.map((entry) => JSON.stringify(entry));
    const hashes = texts.map(sha256);
    const link: Link = {
      begins_at: entries.reduce(
        (least, { occurred_at }) => (occurred_at < least ? occurred_at : least),
        drafts[0].occurred_at,
      ),
      entries: hashes.map((hash) => hash.toString('base64url')),
      first,
      number: this.#head.number + 1,
      previous: this.#head.hash || null,
      stream: this.id,
    };
    const hash = sha256(JSON.stringify(link)).toString('base64url');
    this.#head = { number: link.number, hash };
    return {
      entries,
      text: `[${texts.join(',')}]`,
      link,
      hashes: Buffer.concat(hashes),
      hash,
      database: this.database,
    };
  }
}

/** The entries as they were before they had a place, to be given another one. */
export function draftsOf({ entries }: Batch): [Draft, ...Draft[]] {
  const drafts = entries.map(({ stream: _, sequence: __, ...draft }): Draft => draft);
  return drafts as [Draft, ...Draft[]];
}

/**
 * With its members in canonical order, as those of its actor and its details are already: JSON.stringify then writes
 * canonical text, in a tenth of the time. This is done for every token.
 */
function inOrder(draft: Draft, sequence: number, stream: string): Entry {
  const { account_id, actor, address, client_id, details, event, occurred_at, outcome, request_id } = draft;
  return { account_id, actor, address, client_id, details, event, occurred_at, outcome, request_id, sequence, stream };
}
