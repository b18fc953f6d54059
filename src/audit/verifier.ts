/**
 * Verifies an export line by line (evidence.ts), with the public key alone and bounded memory. It stops at the first
 * entry, link or checkpoint that was changed, removed or added. Entries that the operator's retention dropped are not
 * an error; a signed checkpoint says how far back they may be missing.
 */
import type { JWK } from 'jose';
import type { Entry, Link } from './chain.ts';
import { checkpointHash, verifyCheckpoint, type Checkpoint, type Segment } from './checkpoint.ts';
import type { EvidenceHeader } from './evidence.ts';
import { SegmentCheck } from './segment_check.ts';
import { nameOf, IntegrityError } from './integrity_error.ts';

export interface Proof {
  readonly entries: number;
  /** Entries from before the trail had links: nothing proves them. */
  readonly unproven: number;
  /** Entries `audit.set_back`: a node wrote entries that the database lost in a failover or a restore. */
  readonly setBacks: readonly Entry[];
  readonly first: CheckpointName | undefined;
  readonly last: CheckpointName | undefined;
}

export interface CheckpointName {
  readonly number: number;
  readonly made_at: string;
  readonly hash: string;
}

/** A stream may continue for a day after a checkpoint named it; the second day is a margin. */
const STREAM_LIFETIME_MILLISECONDS = 2 * 86_400_000;

/** More than a person reads. */
const SET_BACKS_SHOWN = 100;

/**
 * Verifies the lines of an export with the `trusted` keys; `contains` is the hash of a checkpoint that must be in it.
 * Throws `IntegrityError` if the export does not prove itself.
 */
export async function verifyEvidence(
  lines: AsyncIterable<string>,
  trusted: readonly JWK[],
  contains?: string,
): Promise<Proof> {
  const verifier = new Verifier(trusted, contains);
  for await (const line of lines) if (line !== '') verifier.read(line);
  return verifier.end();
}

interface KnownHead {
  readonly number: number;
  readonly head: string;
  readonly namedAt: number;
}

class Verifier {
  readonly #trusted: readonly JWK[];
  /** The hash of a required checkpoint; `undefined` once it was found. */
  #missing: string | undefined;
  #header: EvidenceHeader | undefined;
  #latest: Checkpoint | undefined;
  #checkpoint: Checkpoint | undefined;
  #first: CheckpointName | undefined;
  #last: CheckpointName | undefined;
  /** The segments of the current checkpoint that were not begun yet. */
  #ahead: Segment[] = [];
  #segment: SegmentCheck | undefined;
  readonly #streams = new Map<string, KnownHead>();
  readonly #setBacks: Entry[] = [];
  #entries = 0;
  #unproven = 0;

  constructor(trusted: readonly JWK[], contains: string | undefined) {
    this.#trusted = trusted;
    this.#missing = contains;
  }

  read(text: string): void {
    const line = parse(text);
    if (!this.#header) this.#begin(line['evidence'] as EvidenceHeader | undefined);
    else if (typeof line['checkpoint'] === 'string') this.#nextCheckpoint(line['checkpoint']);
    else if ('link' in line) this.#link(line['link'] as Link);
    else if ('unproven' in line) this.#outside(line['unproven'] as Entry);
    else if ('examined' in line) this.#closeCheckpoint();
    else this.#entry(line as unknown as Entry);
  }

  end(): Proof {
    if (!this.#header || !this.#latest) throw new IntegrityError('The file is empty.');
    this.#closeCheckpoint();
    const { to } = this.#header;
    const last = this.#last;
    if (last?.number !== this.#latest.number && !(to !== null && last && last.made_at >= to))
      throw new IntegrityError(
        `The file ends with ${last ? `checkpoint ${last.number}` : 'no checkpoint at all'}, but checkpoint ${this.#latest.number} is the last: the end was removed.`,
      );
    if (this.#missing !== undefined)
      throw new IntegrityError(
        `There is no checkpoint ${this.#missing}: this is another trail, or the database was restored to an earlier state.`,
      );
    const setBacks = this.#setBacks;
    return { entries: this.#entries, unproven: this.#unproven, setBacks, first: this.#first, last };
  }

  #begin(header: EvidenceHeader | undefined): void {
    if (header?.version !== 1 || typeof header.latest !== 'string')
      throw new IntegrityError('This is not an export of an audit trail: its first line is not the header.');
    this.#latest = verifyCheckpoint(header.latest, this.#trusted);
    if (!this.#latest) throw new IntegrityError('The newest checkpoint was not signed by a key that you trust.');
    this.#header = header;
  }

  #nextCheckpoint(jws: string): void {
    this.#closeCheckpoint();
    const checkpoint = verifyCheckpoint(jws, this.#trusted);
    const before = this.#last;
    if (!checkpoint) {
      const place = before ? `The checkpoint after number ${before.number}` : 'The first checkpoint';
      throw new IntegrityError(`${place} was changed or added: it was not signed by a key that you trust.`);
    }
    if (before) this.#follows(checkpoint, before);
    else this.#beginsWith(checkpoint);
    const { number, made_at } = checkpoint;
    this.#last = { number, made_at, hash: checkpointHash(jws) };
    this.#first ??= this.#last;
    if (this.#missing === this.#last.hash) this.#missing = undefined;
    this.#checkpoint = checkpoint;
    this.#ahead = [...checkpoint.streams];
    for (const [stream, { namedAt }] of this.#streams) {
      if (Date.parse(made_at) - namedAt <= STREAM_LIFETIME_MILLISECONDS) break;
      this.#streams.delete(stream);
    }
  }

  #follows({ number, previous }: Checkpoint, before: CheckpointName): void {
    if (number > before.number + 1) {
      const which = number - before.number === 2 ? `${number - 1}` : `${before.number + 1} to ${number - 1}`;
      throw new IntegrityError(`Checkpoint ${which} was removed with all that it covers: from ${before.made_at} on.`);
    }
    if (number <= before.number) throw new IntegrityError(`A second checkpoint ${number} was added.`);
    if (previous !== before.hash)
      throw new IntegrityError(
        `Checkpoint ${before.number} is not the checkpoint that checkpoint ${number} names as its predecessor.`,
      );
  }

  /** A record that does not begin with checkpoint 1 must begin at the requested time or at the retention limit. */
  #beginsWith({ number, previous_made_at: before }: Checkpoint): void {
    if (number === 1 || before === null) return;
    const { from } = this.#header!;
    if (before < (from ?? '') || before < this.#retainedFrom) return;
    throw new IntegrityError(
      `The checkpoints before number ${number} were removed, with all that they covered: up to ${before}.`,
    );
  }

  #link(link: Link): void {
    const { stream } = link;
    while (this.#segment?.stream !== stream) {
      this.#closeSegment();
      const next = this.#ahead.shift();
      if (!next) throw new IntegrityError(`Link ${link.number} of stream ${stream} was added: no checkpoint names it.`);
      this.#segment = new SegmentCheck(next, this.#checkpoint!, this.#headBefore(next), this.#retainedFrom);
    }
    this.#segment.link(link);
  }

  #entry(entry: Entry): void {
    if (!this.#segment) throw new IntegrityError(`${nameOf(entry)} was added: no link covers it.`);
    this.#segment.entry(entry);
    this.#entries++;
    if (entry.event === 'audit.set_back' && this.#setBacks.length < SET_BACKS_SHOWN) this.#setBacks.push(entry);
  }

  /** An entry in the database that no checkpoint covers. */
  #outside(entry: Entry): void {
    this.#closeCheckpoint();
    if (entry.occurred_at >= this.#latest!.chained_since)
      throw new IntegrityError(`${nameOf(entry)} was added: no checkpoint covers it.`);
    this.#unproven++;
  }

  #headBefore({ stream, after }: Segment): string | undefined {
    const known = this.#streams.get(stream);
    if (known && known.number !== after)
      throw new IntegrityError(
        `Links ${known.number + 1} to ${after} of stream ${stream} are under no checkpoint: they were removed before checkpoint ${this.#checkpoint!.number}.`,
      );
    return known?.head;
  }

  #closeSegment(): void {
    const segment = this.#segment;
    if (!segment) return;
    segment.close();
    const { stream, number, head } = segment.named;
    this.#streams.delete(stream);
    this.#streams.set(stream, { number, head, namedAt: Date.parse(this.#checkpoint!.made_at) });
    this.#segment = undefined;
  }

  #closeCheckpoint(): void {
    this.#closeSegment();
    for (const next of this.#ahead.splice(0)) {
      this.#segment = new SegmentCheck(next, this.#checkpoint!, this.#headBefore(next), this.#retainedFrom);
      this.#closeSegment();
    }
  }

  get #retainedFrom(): string {
    return this.#latest?.retained_from ?? '';
  }
}

function parse(text: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null) return value as Readonly<Record<string, unknown>>;
  } catch {
    // the error below reports it
  }
  throw new IntegrityError(`A line is not a JSON object: ${text.slice(0, 80)}`);
}
