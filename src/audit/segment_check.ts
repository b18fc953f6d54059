/** Checks one stream's segment of a checkpoint: its links in order, each with its entries, up to the signed head. */
import { hashOf, type Entry, type Link } from './chain.ts';
import type { Checkpoint, Segment } from './checkpoint.ts';
import { nameOf, IntegrityError } from './integrity_error.ts';

export class SegmentCheck {
  readonly named: Segment;
  readonly #checkpoint: Checkpoint;
  /** Links and entries before this time may have been dropped by retention. */
  readonly #retainedFrom: string;
  /** The hash of the previous link; `undefined` if it is not known. */
  #head: string | undefined;
  #number: number;
  #link: Link | undefined;
  /** The number of entries of the current link that were read. */
  #seen = 0;
  /** An entry with the right number and the wrong content: it was changed, unless the right one follows. */
  #doubtful: Entry | undefined;
  /** The first problem with an entry. A problem with the links is reported first, with this one after it. */
  #problem: string | undefined;
  /** The first link whose successor does not name it. */
  #broken: Link | undefined;

  constructor(named: Segment, checkpoint: Checkpoint, headBefore: string | undefined, retainedFrom: string) {
    this.named = named;
    this.#checkpoint = checkpoint;
    this.#retainedFrom = retainedFrom;
    this.#number = named.after;
    this.#head = named.after === 0 ? '' : headBefore;
  }

  get stream(): string {
    return this.named.stream;
  }

  link(link: Link): void {
    this.#closeLink();
    if (!Array.isArray(link.entries))
      throw new IntegrityError(`Link ${link.number} of stream ${this.stream} was changed.`);
    if (link.number <= this.#number)
      throw new IntegrityError(`A second link ${link.number} of stream ${this.stream} was added (${link.begins_at}).`);
    if (link.number > this.#number + 1) {
      this.#refuseGap(this.#number + 1, link.number - 1);
      this.#head = undefined;
    }
    if (this.#head !== undefined && (link.previous ?? '') !== this.#head) this.#broken ??= this.#link ?? link;
    this.#number = link.number;
    this.#head = hashOf(link);
    this.#link = link;
    this.#seen = 0;
  }

  entry(entry: Entry): void {
    const link = this.#link;
    if (!link) return this.#note(`${nameOf(entry)} was added: no link covers it.`);
    const expected = link.first + this.#seen;
    if (entry.stream !== link.stream || entry.sequence < expected || this.#seen >= link.entries.length) {
      return this.#note(`${nameOf(entry)} was added: the link that covers its number lists another one.`);
    }
    if (entry.sequence > expected) {
      this.#closeDoubt();
      this.#missing(entry.sequence - link.first);
    }
    if (hashOf(entry) === link.entries[entry.sequence - link.first]) {
      if (this.#doubtful)
        this.#note(`${nameOf(this.#doubtful)} was added: the link that covers its number lists another one.`);
      this.#doubtful = undefined;
      this.#seen++;
    } else {
      if (this.#doubtful) this.#note(`${nameOf(this.#doubtful)} was changed.`);
      this.#doubtful = entry;
    }
  }

  /** Throws `IntegrityError` unless all links and entries up to the signed head were read, unchanged. */
  close(): void {
    this.#closeLink();
    const { number, head, stream } = this.named;
    if (this.#number < number) this.#refuseGap(this.#number + 1, number);
    else if (this.#head !== head) this.#refuseLinks();
    else if (this.#broken) {
      const { number: which, first, entries, begins_at } = this.#broken;
      throw new IntegrityError(
        `Link ${which} of stream ${stream} was changed (entries ${first} to ${first + entries.length - 1}, from ${begins_at}).${this.#also}`,
      );
    }
    if (this.#problem) throw new IntegrityError(this.#problem);
  }

  /** The links name one another, but do not lead to the signed head. */
  #refuseLinks(): void {
    const { stream, after, number, begins_at } = this.named;
    const which = after + 1 === number ? `Link ${number}` : `One of the links ${after + 1} to ${number}`;
    throw new IntegrityError(
      `${which} of stream ${stream} (from ${begins_at}) was changed, and what follows it was made anew: checkpoint ${this.#checkpoint.number}, made at ${this.#checkpoint.made_at}, names another head.${this.#also}`,
    );
  }

  get #also(): string {
    return this.#problem ? ` ${this.#problem}` : '';
  }

  /** Retention drops the oldest links. Once a link is present, all later ones must be, or nothing proves that link. */
  #refuseGap(first: number, last: number): void {
    const { stream, begins_at } = this.named;
    if (begins_at < this.#retainedFrom && !this.#link) return;
    const which =
      first === last ? `Link ${first} of stream ${stream} was` : `Links ${first} to ${last} of stream ${stream} were`;
    throw new IntegrityError(
      `${which} removed (from ${this.#link?.begins_at ?? begins_at} on); checkpoint ${this.#checkpoint.number} names link ${this.named.number} as the last.${this.#also}`,
    );
  }

  #closeLink(): void {
    this.#closeDoubt();
    if (this.#link) this.#missing(this.#link.entries.length);
  }

  #closeDoubt(): void {
    if (!this.#doubtful) return;
    this.#note(`${nameOf(this.#doubtful)} was changed.`);
    this.#doubtful = undefined;
    this.#seen++;
  }

  /** Notes that entries of the current link before index `place` are missing. */
  #missing(place: number): void {
    const { first, begins_at } = this.#link!;
    if (this.#seen < place && begins_at >= this.#retainedFrom) {
      const from = first + this.#seen;
      const which = place - this.#seen === 1 ? `Entry ${from}` : `Entries ${from} to ${first + place - 1}`;
      const were = place - this.#seen === 1 ? 'was' : 'were';
      this.#note(
        `${which} of stream ${this.stream} ${were} removed; the link that lists ${were === 'was' ? 'it' : 'them'} begins at ${begins_at}.`,
      );
    }
    this.#seen = Math.max(this.#seen, place);
  }

  #note(problem: string): void {
    this.#problem ??= problem;
  }
}
