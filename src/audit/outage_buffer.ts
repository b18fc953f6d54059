/**
 * Audit entries that wait in memory for the database to return, in the order in which they came. Their number and their
 * size are bounded, for memory is what they cost; what is held is in the log stream already, and is lost with the
 * process.
 */
import type { Clock } from '../base/clock.ts';
import type { Database } from '../db/connection.ts';
import { AnotherDatabase, insertBatchOnce, type Seals } from './batch_rows.ts';
import { BATCH_LIMIT, draftsOf, Stream, type Batch, type Draft } from './chain.ts';

export interface OutageBufferSettings {
  readonly keys: Seals;
  readonly clock: Clock;
  readonly entriesAtMost: number;
  /** Which database answers (db/identity.ts), as far as that is known. */
  readonly identity: () => string | undefined;
}

/** In the mean: an entry about a token has some 500. */
const BYTES_PER_ENTRY = 1_024;

interface Sent {
  /** By this its sender asks for it. */
  readonly sent: Batch;
  /** The same entries; in a stream of their own where the one that they were sent in was set back. */
  batch: Batch;
  readonly bytes: number;
}

export class OutageBuffer {
  readonly #settings: OutageBufferSettings;
  /** Sent once already: each is tried again as it is, so that it can't come to be there twice. */
  readonly #sent: Sent[] = [];
  readonly #drafts: { readonly draft: Draft; readonly bytes: number }[] = [];
  #stream: Stream | undefined;
  #count = 0;
  #bytes = 0;
  #since = 0;
  #written = 0;

  constructor(settings: OutageBufferSettings) {
    this.#settings = settings;
  }

  get count(): number {
    return this.#count;
  }

  /** How many were written after they had waited, since this process began. */
  get written(): number {
    return this.#written;
  }

  /** For how long there have been any without a break. */
  ageMilliseconds(): number {
    return this.#count === 0 ? 0 : this.#settings.clock().getTime() - this.#since;
  }

  get full(): boolean {
    const { entriesAtMost } = this.#settings;
    return this.#count >= entriesAtMost || this.#bytes >= entriesAtMost * BYTES_PER_ENTRY;
  }

  hold(drafts: readonly Draft[]): void {
    for (const draft of drafts) {
      const bytes = JSON.stringify(draft).length;
      this.#drafts.push({ draft, bytes });
      this.#add(1, bytes);
    }
  }

  holdSent(batch: Batch): void {
    const bytes = batch.text.length;
    this.#sent.push({ sent: batch, batch, bytes });
    this.#add(batch.entries.length, bytes);
  }

  has(batch: Batch): boolean {
    return this.#sent.some(({ sent }) => sent === batch);
  }

  /** Writes the oldest, five hundred at most, and answers with what it wrote. */
  async writeSome(database: Database): Promise<Batch | undefined> {
    this.#chainSome();
    const [next] = this.#sent;
    if (!next) return undefined;
    await this.#insert(database, next);
    // one that was given up as too late may have been carried out all the same, and come here first
    if (this.#sent[0] !== next) return next.batch;
    this.#sent.shift();
    const { length } = next.batch.entries;
    this.#add(-length, -next.bytes);
    this.#written += length;
    if (this.#count === 0) this.#stream = undefined;
    return next.batch;
  }

  /** Where the stream's earlier links were lost with the database that had them, the entries begin another one. */
  async #insert(database: Database, next: Sent): Promise<void> {
    const { keys, clock, identity } = this.#settings;
    const tried = next.batch;
    try {
      await insertBatchOnce(database, tried, keys);
    } catch (error) {
      if (!(error instanceof AnotherDatabase)) throw error;
      // an attempt that was given up as too late may have done this before
      if (next.batch === tried) next.batch = new Stream(clock(), identity()).append(draftsOf(tried));
      await insertBatchOnce(database, next.batch, keys);
    }
  }

  #chainSome(): void {
    if (this.#sent.length > 0) return;
    const [first, ...rest] = this.#drafts.splice(0, BATCH_LIMIT);
    if (!first) return;
    const { clock, identity } = this.#settings;
    if (this.#stream?.database !== identity()) this.#stream = undefined;
    this.#stream ??= new Stream(clock(), identity());
    const batch = this.#stream.append([first.draft, ...rest.map(({ draft }) => draft)]);
    this.#sent.push({ sent: batch, batch, bytes: rest.reduce((sum, { bytes }) => sum + bytes, first.bytes) });
  }

  #add(entries: number, bytes: number): void {
    if (this.#count === 0) this.#since = this.#settings.clock().getTime();
    this.#count += entries;
    this.#bytes += bytes;
  }
}
