/**
 * The data that is hashed. An entry is an event with its sequence number in its stream. A link covers the entries of
 * one batch: it lists their hashes and names the previous link, so a change to an entry or an earlier link also changes
 * the link's hash. Both are plain JSON, hashed as canonical text (see canonical.ts). docs/audit-trail.md specifies all
 * of this for authors of other verifiers.
 */
import { timeOrderedUuid } from '../base/ids.ts';
import { canonical, sha256 } from './canonical.ts';

export interface Entry {
  readonly stream: string;
  /** 1 for a stream's first entry, then one more each, without a gap. */
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

/** An entry without a position in a stream; the members of `actor` and `details` are in the order of their names. */
export type Draft = Omit<Entry, 'stream' | 'sequence'>;

export interface Link {
  readonly stream: string;
  /** 1 for a stream's first link, then one more each. */
  readonly number: number;
  /** The hash of the previous link; null for the first. */
  readonly previous: string | null;
  /** The sequence of the first covered entry; the others follow without a gap. */
  readonly first: number;
  /** The time of its earliest entry. */
  readonly begins_at: string;
  /** The hashes of the entries, in order. */
  readonly entries: readonly string[];
}

export const HASH_BYTES = 32;
/** The maximum number of entries in a batch. */
export const BATCH_LIMIT = 500;

/** The SHA-256 of the canonical text in base64url, by which entries, links and checkpoints are named. */
export function hashOf(value: Entry | Link): string {
  return sha256(canonical(value)).toString('base64url');
}

/** Entries and the link that covers them, ready to be inserted in one statement. */
export interface Batch {
  readonly entries: readonly Entry[];
  /** The entries' canonical texts as one JSON array. */
  readonly text: string;
  readonly link: Link;
  /** The entries' hashes, concatenated. */
  readonly hashes: Buffer;
  /** The link's hash. */
  readonly hash: string;
  /**
   * The database in which the stream began (db/identity.ts) and which has the previous links; `undefined`: not known.
   */
  readonly database: string | undefined;
}

/** The last link of a stream. */
export interface Head {
  readonly number: number;
  readonly hash: string;
  readonly begins_at: string;
  /** The sequence of its last entry. */
  readonly sequence: number;
  /** The database that stored it; `undefined` if that is not known. */
  readonly database: string | undefined;
}

/**
 * A stream that its only writer extends. The caller stores each batch before it appends the next one. If it can not
 * know whether a batch was stored, it discards the stream and begins a new one.
 */
export class Stream {
  readonly id: string;
  readonly beganAt: Date;
  readonly database: string | undefined;
  #sequence = 0;
  #head: Pick<Head, 'number' | 'hash'> = { number: 0, hash: '' };

  /** `database`: the identity of the database that stores the links of this stream. */
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

/** The entries of a batch without their positions, so that another stream can take them. */
export function draftsOf({ entries }: Batch): [Draft, ...Draft[]] {
  const drafts = entries.map(({ stream: _, sequence: __, ...draft }): Draft => draft);
  return drafts as [Draft, ...Draft[]];
}

/**
 * Returns the entry with its members in canonical order (`actor` and `details` already have it). JSON.stringify then
 * writes canonical text, ten times as fast. This runs for each token.
 */
function inOrder(draft: Draft, sequence: number, stream: string): Entry {
  const { account_id, actor, address, client_id, details, event, occurred_at, outcome, request_id } = draft;
  return { account_id, actor, address, client_id, details, event, occurred_at, outcome, request_id, sequence, stream };
}
