/**
 * The audit trail: an append-only record that can be verified. Each entry belongs to a stream, is numbered without a
 * gap, and is covered by a link that lists its hash and names the previous link (chain.ts). Each writer has its own
 * stream, so no writer waits for another writer's link:
 *
 * - An event without another effect (a token issued, a login failed) waits in a queue for one of the node's two
 *   lanes, and is written together with all events in the queue. The response waits for it.
 * - An event of a change is written in the transaction of that change. The transaction takes a stream that no other
 *   transaction uses, and returns it after the commit. A rollback also removes the link.
 * - A change that is one statement can write its events in that statement (`recordWith`).
 *
 * In each case ONE statement inserts entries and link, so no entry is without a link, even if a node dies. If a
 * statement fails, the node can not know whether it was executed: the node discards the stream and begins a new one.
 * While the database is away, entries about tokens for known clients may wait in memory (outage_buffer.ts). Each link
 * carries a seal (an HMAC with a key that the database does not have). Once a minute a signed checkpoint names the
 * heads of the streams that grew (checkpoints.ts). Before that, the node checks the seals, and compares its own streams
 * in the database with the heads that it remembers. evidence.ts exports the trail, verifier.ts verifies the export.
 */
import { DAY_SECONDS, type Clock } from '../base/clock.ts';
import { outsideTimeBudget, requireTimeToWait } from '../base/time_budget.ts';
import { Unavailable } from '../base/unavailable.ts';
import { isAway, isLate, storable, type Database, type Tx } from '../db/connection.ts';
import { afterCommit } from '../db/transaction.ts';
import { Backlog } from './backlog.ts';
import {
  AnotherDatabase,
  batchParameters,
  insertBatch,
  insertBatchIn,
  insertBatchOnce,
  notWritten,
  type Seals,
} from './batch_rows.ts';
import { BATCH_LIMIT, draftsOf, Stream, type Batch, type Draft, type Entry, type Head } from './chain.ts';
import type { AuditEvent, Origin, OriginatedEvent } from './events.ts';
import type { OutageBuffer } from './outage_buffer.ts';
import { RepeatedRefusals } from './repeated_refusals.ts';

/** Receives each entry as a structured log line; pino's child logger fits. */
export interface AuditLog {
  info(fields: object, message: string): void;
}

/** The state of a database outage, as the trail needs it. */
export interface Outage {
  /** Whether the database is known to be away. */
  readonly away: boolean;
  /** Whether entries may wait in memory: the outage is short enough, and the buffer is not full. */
  readonly permits: boolean;
  /** Checks the database, tries to write the buffered entries, and returns whether the database answers. */
  check(): Promise<boolean>;
  readonly held: OutageBuffer;
}

export interface TrailSettings {
  readonly database: Database;
  readonly keys: Seals;
  readonly log: AuditLog;
  readonly clock: Clock;
  /**
   * The identity of the connected database (db/identity.ts), if it is known. Without this function a stream belongs to
   * no database.
   */
  readonly identity?: () => string | undefined;
  /** Without it no entry waits in memory: an entry that can not be written rejects its caller. */
  readonly outage?: Outage;
  /** The network of an address, for counting refusals. Without it each address is a network. */
  readonly networkOf?: (address: string) => string;
}

interface WaitingEvents {
  /** From `performance.now()`. */
  readonly since: number;
  readonly drafts: readonly Draft[];
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** Two, so that the node sends the next batch while the disk still writes the previous one. */
const LANES = 2;
/** A day: a stream then lies within few partitions, so that retention can drop it as a whole. */
const LANE_STREAM_LIFETIME_MILLISECONDS = DAY_SECONDS * 1000;
/** Heads that no checkpoint has named. Far fewer gather between two checkpoints. */
const REMEMBERED_AT_MOST = 50_000;

export class AuditTrail {
  /** Counts the refusals that a sender can cause without limit. */
  readonly refusals: RepeatedRefusals;
  readonly #settings: TrailSettings;
  readonly #queue: WaitingEvents[] = [];
  /** Idle lanes, each with its stream if it has begun one. */
  readonly #free: (Stream | undefined)[] = Array.from({ length: LANES }, () => undefined);
  readonly #backlog = new Backlog();
  #flushing = false;
  readonly #ofTransactions = new WeakMap<Tx, Stream>();
  /** Streams of committed transactions, for the next transactions. */
  readonly #idle: Stream[] = [];
  readonly #written = new Map<string, Head>();

  constructor(settings: TrailSettings) {
    this.#settings = settings;
    const { clock, networkOf = (address) => address } = settings;
    this.refusals = new RepeatedRefusals({
      clock,
      networkOf,
      record: (origin, event) => this.record(origin, event),
      keep: (records) => this.#keep(records),
    });
  }

  /**
   * Resolves when the events are on disk, or buffered while the database is away. Rejects when they are neither; the
   * caller must then not answer with success.
   */
  record(origin: Origin, ...events: readonly AuditEvent[]): Promise<void> {
    if (events.length === 0) return Promise.resolve();
    const drafts = events.map((event) => this.#draft(origin, event));
    return new Promise((resolve, reject) => {
      this.#backlog.throwIfLate(this.#queue[0]?.since);
      // a queued event will be written in any case, so the request must have time to wait for it
      requireTimeToWait();
      this.#queue.push({ since: performance.now(), drafts, resolve, reject });
      this.#flush();
    });
  }

  /** Records an event in the transaction `tx`: both are committed, or neither. */
  recordIn(tx: Tx, origin: Origin, event: AuditEvent): Promise<void> {
    return this.recordAllIn(tx, [{ origin, event }]);
  }

  /** The same for events of several requests. */
  async recordAllIn(tx: Tx, records: readonly OriginatedEvent[]): Promise<void> {
    const [first, ...rest] = records.map(({ origin, event }) => this.#draft(origin, event));
    if (!first) return;
    this.#backlog.throwIfLate(this.#queue[0]?.since);
    const batch = this.#streamOf(tx).append([first, ...rest]);
    await insertBatchIn(tx, batch, this.#settings.keys);
    afterCommit(tx, () => this.#isWritten(batch));
  }

  /**
   * Records events in the statement that makes the change (`withRecord`). `change` gets the trail's parameters of that
   * statement and returns whether it changed anything. If it did not, nothing is recorded.
   */
  async recordWith(
    origin: Origin,
    events: readonly [AuditEvent, ...AuditEvent[]],
    change: (parameters: readonly unknown[]) => Promise<boolean>,
  ): Promise<boolean> {
    const [first, ...rest] = events;
    this.#backlog.throwIfLate(this.#queue[0]?.since);
    const stream = this.#continued(this.#idle.pop());
    const batch = stream.append([this.#draft(origin, first), ...rest.map((event) => this.#draft(origin, event))]);
    // if this throws, or nothing was changed, the stream has a gap and is discarded
    if (!(await change(batchParameters(batch, this.#settings.keys)))) return false;
    this.#idle.push(stream);
    this.#isWritten(batch);
    return true;
  }

  /**
   * Returns a function that writes these events. If it rejects, they may be on disk nevertheless; each further call sends
   * the same batch, so that no event is there twice.
   */
  #keep(records: readonly OriginatedEvent[]): () => Promise<void> {
    const [first, ...rest] = records.map(({ origin, event }) => this.#draft(origin, event));
    if (!first) return () => Promise.resolve();
    const { database, keys, clock } = this.#settings;
    let stream = this.#continued(this.#idle.pop());
    let batch = stream.append([first, ...rest]);
    return async () => {
      try {
        await insertBatchOnce(database, batch, keys);
      } catch (error) {
        if (!(error instanceof AnotherDatabase)) throw error;
        // the events are not there, and the database lacks the link before them
        stream = this.#begun(clock());
        batch = stream.append(draftsOf(batch));
        await insertBatchOnce(database, batch, keys);
      }
      this.#idle.push(stream);
      this.#isWritten(batch);
    };
  }

  /** The transaction's stream. A rollback discards it. */
  #streamOf(tx: Tx): Stream {
    const found = this.#ofTransactions.get(tx);
    if (found) return found;
    const stream = this.#continued(this.#idle.pop());
    this.#ofTransactions.set(tx, stream);
    afterCommit(tx, () => this.#idle.push(stream));
    return stream;
  }

  /** The number of requests that wait for their events to be written. */
  get waiting(): number {
    return this.#queue.length;
  }

  /** The heads of the streams that this process wrote and that no checkpoint names yet. */
  heads(): ReadonlyMap<string, Head> {
    return new Map(this.#written);
  }

  forget(named: ReadonlyMap<string, Head>): void {
    for (const [stream, head] of named) if (this.#written.get(stream) === head) this.#written.delete(stream);
  }

  #draft(origin: Origin, event: AuditEvent): Draft {
    const { actor } = origin;
    return {
      occurred_at: this.#settings.clock().toISOString(),
      event: event.event,
      outcome: event.outcome,
      actor: 'id' in actor ? { id: storable(actor.id), type: actor.type } : { type: actor.type },
      account_id: storableName(event.accountId),
      client_id: storableName(event.clientId),
      address: storableName(origin.address),
      request_id: origin.requestId ?? null,
      details: storableMembers(event.details ?? {}),
    };
  }

  /** Runs after the current turn of the event loop, so that requests that arrived together share a statement. */
  #flush(): void {
    if (this.#flushing) return;
    this.#flushing = true;
    setImmediate(() => {
      this.#flushing = false;
      const { outage } = this.#settings;
      if (outage?.away) return this.#hold(outage, this.#queue.splice(0));
      while (this.#free.length > 0 && this.#queue.length > 0) {
        const waiting = this.#queue.splice(0, BATCH_LIMIT);
        void outsideTimeBudget(() => this.#send(this.#free.pop(), waiting));
      }
    });
  }

  async #send(lane: Stream | undefined, waiting: readonly WaitingEvents[]): Promise<void> {
    let stream: Stream | undefined = this.#continued(lane);
    let batch: Batch | undefined;
    try {
      const [first, ...rest] = waiting.flatMap(({ drafts }) => drafts);
      batch = stream.append([first!, ...rest]);
      await this.#backlog.track(waiting[0]!.since, insertBatch(this.#settings.database, batch, this.#settings.keys));
      this.#isWritten(batch);
      for (const { resolve } of waiting) resolve();
    } catch (error) {
      stream = undefined;
      // nothing was written; a new stream has no earlier link that the database could lack
      if (error instanceof AnotherDatabase) this.#queue.unshift(...waiting);
      else await this.#failed(error, waiting, batch);
    } finally {
      this.#free.push(stream);
      this.#flush();
    }
  }

  /** If the whole database is away, the batch is kept, because the node can not know whether it was executed. */
  async #failed(error: unknown, waiting: readonly WaitingEvents[], batch: Batch | undefined): Promise<void> {
    const { outage } = this.#settings;
    // the queued requests would be rejected later in any case
    if (isLate(error)) for (const { reject } of this.#queue.splice(0)) reject(notWritten(error));
    if (!batch || !isAway(error) || !outage?.permits) {
      for (const { reject } of waiting) reject(notWritten(error));
      return;
    }
    const { held } = outage;
    held.holdSent(batch);
    // perhaps only this one connection failed
    while (held.has(batch) && (await outage.check()));
    for (const entry of batch.entries) this.#log(entry);
    for (const { drafts, resolve, reject } of waiting) {
      if (!held.has(batch) || drafts.every(mayWait)) resolve();
      else reject(notWritten(error));
    }
  }

  #hold(outage: Outage, waiting: readonly WaitingEvents[]): void {
    for (const { drafts, resolve, reject } of waiting) {
      if (!outage.permits || !drafts.every(mayWait)) {
        reject(new Unavailable('The database can not be reached.'));
        continue;
      }
      outage.held.hold(drafts);
      for (const draft of drafts) this.#log(draft);
      resolve();
    }
  }

  /**
   * Writes buffered entries for up to `milliseconds`, on a connection that the breaker allows during an outage. Resolves
   * to whether all of them are written.
   */
  async writeHeld(database: Database, milliseconds: number): Promise<boolean> {
    const until = performance.now() + milliseconds;
    for (;;) {
      const batch = await this.#settings.outage?.held.writeSome(database);
      if (!batch) return true;
      this.#remember(batch);
      if (performance.now() > until) return false;
    }
  }

  #continued(stream: Stream | undefined): Stream {
    const now = this.#settings.clock();
    const age = stream && Math.abs(now.getTime() - stream.beganAt.getTime());
    const isCurrent =
      stream && age! < LANE_STREAM_LIFETIME_MILLISECONDS && stream.database === this.#settings.identity?.();
    return isCurrent ? stream : this.#begun(now);
  }

  #begun(now: Date): Stream {
    return new Stream(now, this.#settings.identity?.());
  }

  #isWritten(batch: Batch): void {
    this.#remember(batch);
    for (const entry of batch.entries) this.#log(entry);
  }

  #remember({ link: { stream, number, first, entries, begins_at }, hash, database }: Batch): void {
    if (this.#written.size < REMEMBERED_AT_MOST || this.#written.has(stream))
      this.#written.set(stream, { number, hash, begins_at, sequence: first + entries.length - 1, database });
  }

  #log({ event, ...fields }: Entry | Draft): void {
    this.#settings.log.info({ audit: { event, ...fields } }, event);
  }
}

/**
 * Only a token that a client gets for itself may wait. A refusal does not, so that refusals can not fill the buffer.
 */
function mayWait({ event, account_id, details }: Draft): boolean {
  return event === 'token.issued' && account_id === null && details['grant_type'] === 'client_credentials';
}

function storableName(name: string | undefined): string | null {
  return name === undefined ? null : storable(name);
}

/**
 * Returns the details with all members in the order of their names (see chain.ts). They may quote a request with any
 * characters: unstorable ones are replaced, so that they can not prevent the event, or others in its batch, from being
 * written.
 */
function storableMembers(details: Readonly<Record<string, unknown>>): Draft['details'] {
  const ordered: Record<string, unknown> = {};
  for (const name of Object.keys(details).sort()) ordered[storable(name)] = storableDetail(details[name]);
  return ordered;
}

function storableDetail(value: unknown): unknown {
  if (typeof value === 'string') return storable(value);
  if (Array.isArray(value)) return value.map(storableDetail);
  return typeof value === 'object' && value !== null ? storableMembers(value as Record<string, unknown>) : value;
}
