/**
 * Buffers audit entries in memory while the database is away, in the order of their arrival. Their number and size are
 * bounded, to limit memory. The log already has the buffered entries; they are lost from the trail if the process ends.
 */
import type { Clock } from '../base/clock.ts';
import type { Database } from '../db/connection.ts';
import { AnotherDatabase, insertBatchOnce, type Seals } from './batch_rows.ts';
import { BATCH_LIMIT, draftsOf, Stream, type Batch, type Draft } from './chain.ts';

export interface OutageBufferSettings {
  readonly keys: Seals;
  readonly clock: Clock;
  readonly entriesAtMost: number;
  /** The identity of the connected database (db/identity.ts), if it is known. */
  readonly identity: () => string | undefined;
}

/** The size that the limit assumes; an entry about a token has about 500 bytes. */
const BYTES_PER_ENTRY = 1_024;

interface Sent {
  /** The batch as it was first sent; `has` finds it by this object. */
  readonly sent: Batch;
  /** The same entries; in a new stream if the database no longer has the original stream. */
  batch: Batch;
  readonly bytes: number;
}

export class OutageBuffer {
  readonly #settings: OutageBufferSettings;
  /** Batches that were sent before. Each is sent again unchanged, so that it can not be stored twice. */
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

  /** The number of entries written after they waited, since the process began. */
  get written(): number {
    return this.#written;
  }

  /** The time for which the buffer has not been empty. */
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

  /** Writes the oldest batch (at most 500 entries) and returns it; `undefined` if the buffer is empty. */
  async writeSome(database: Database): Promise<Batch | undefined> {
    this.#chainSome();
    const [next] = this.#sent;
    if (!next) return undefined;
    await this.#insert(database, next);
    // an earlier attempt that timed out may have been executed, and may have removed the batch first
    if (this.#sent[0] !== next) return next.batch;
    this.#sent.shift();
    const { length } = next.batch.entries;
    this.#add(-length, -next.bytes);
    this.#written += length;
    if (this.#count === 0) this.#stream = undefined;
    return next.batch;
  }

  /** If the database lost the stream's earlier links, the entries begin a new stream. */
  async #insert(database: Database, next: Sent): Promise<void> {
    const { keys, clock, identity } = this.#settings;
    const tried = next.batch;
    try {
      await insertBatchOnce(database, tried, keys);
    } catch (error) {
      if (!(error instanceof AnotherDatabase)) throw error;
      // an earlier attempt that timed out may have done this already
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
