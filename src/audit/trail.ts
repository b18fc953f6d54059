/**
 * The audit trail: append-only, and evidence. Every entry stands in a stream, numbered without a gap, and is covered by
 * a link that lists its hash and names the link before (chain.ts). Each writer has a stream to itself, so that no writer
 * waits for the link of another one:
 *
 * - An event that changes nothing else (a token issued, a login failed) waits in a queue for one of the node's two lanes,
 *   and is written with all events that wait there. The answer waits for it.
 * - An event of a change is written in the transaction of that change. The transaction takes a stream that no other
 *   transaction uses, and gives it back when it is committed; a rollback takes the link along.
 * - A change that is one statement can take its events along in that statement (`recordWith`).
 *
 * In each case entries and link are ONE statement, so no entry is without a link, whenever a node dies. Where a statement
 * fails the node can't know whether it was carried out: the stream is given up, and another one begun. While the database
 * is away, the entries of what known clients are given may wait in memory (outage_buffer.ts). Each link carries a seal (an HMAC
 * under a key that the database doesn't have). Once a minute the heads of the streams that grew are put under a signed
 * checkpoint (checkpoints.ts), which looks at the seals first, and compares the node's own streams in the database with
 * what the node remembers of them. Exported and verified: evidence.ts, verifier.ts.
 */
import { DAY_SECONDS, type Clock } from '../base/clock.ts';
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

/** Where the same entries go as structured lines; pino's child logger fits. */
export interface AuditLog {
  info(fields: object, message: string): void;
}

/** The database's absence, as the trail has to know of it. */
export interface Outage {
  /** Whether it is known to be away. */
  readonly away: boolean;
  /** Whether entries may wait for it: it has not been away for too long, and not too many wait already. */
  readonly permits: boolean;
  /** Looks anew, trying to write what is held, and answers whether the database is there. */
  check(): Promise<boolean>;
  readonly held: OutageBuffer;
}

export interface TrailSettings {
  readonly database: Database;
  readonly keys: Seals;
  readonly log: AuditLog;
  readonly clock: Clock;
  /** Which database answers (db/identity.ts), as far as that is known; without it streams are bound to none. */
  readonly identity?: () => string | undefined;
  /** Without it no entry ever waits: what can't be written is not done. */
  readonly outage?: Outage;
  /** The network that an address belongs to, for counting refusals; without it each address is one. */
  readonly networkOf?: (address: string) => string;
}

interface Waiting {
  /** By `performance.now()`. */
  readonly since: number;
  readonly drafts: readonly Draft[];
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** Two, so that the next batch is on its way while the disk still answers for the one before. */
const LANES = 2;
/** A stream that ends while it is remembered is one that retention can drop whole. */
const LANE_STREAM_LIFETIME_MILLISECONDS = DAY_SECONDS * 1000;
/** Heads that no checkpoint has named: far more than can gather between two of them. */
const REMEMBERED_AT_MOST = 50_000;

export class AuditTrail {
  /** Where refusals go that a sender can cause at will. */
  readonly refusals: RepeatedRefusals;
  readonly #settings: TrailSettings;
  readonly #queue: Waiting[] = [];
  /** Lanes that nothing is being written in, each with its stream, if it has begun one. */
  readonly #free: (Stream | undefined)[] = Array.from({ length: LANES }, () => undefined);
  readonly #backlog = new Backlog();
  #flushing = false;
  readonly #ofTransactions = new WeakMap<Tx, Stream>();
  /** Streams of transactions that are committed, for those that come next. */
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
   * Resolves when the events are on disk, or held for it while the database is away; rejects when they are neither, and
   * then no answer may be given.
   */
  record(origin: Origin, ...events: readonly AuditEvent[]): Promise<void> {
    if (events.length === 0) return Promise.resolve();
    const drafts = events.map((event) => this.#draft(origin, event));
    return new Promise((resolve, reject) => {
      this.#backlog.refuseLate(this.#queue[0]?.since);
      this.#queue.push({ since: performance.now(), drafts, resolve, reject });
      this.#flush();
    });
  }

  /** Records an event as part of a change: both are on disk, or neither. */
  recordIn(tx: Tx, origin: Origin, event: AuditEvent): Promise<void> {
    return this.recordAllIn(tx, [{ origin, event }]);
  }

  /** The same for events of several requests. */
  async recordAllIn(tx: Tx, records: readonly OriginatedEvent[]): Promise<void> {
    const [first, ...rest] = records.map(({ origin, event }) => this.#draft(origin, event));
    if (!first) return;
    this.#backlog.refuseLate(this.#queue[0]?.since);
    const batch = this.#streamOf(tx).append([first, ...rest]);
    await insertBatchIn(tx, batch, this.#settings.keys);
    afterCommit(tx, () => this.#isWritten(batch));
  }

  /**
   * Records events of a change that is one statement, in that statement (`withRecord`): `change` gets the trail's part of
   * its parameters and answers whether the change was made. Where it wasn't, nothing is on record.
   */
  async recordWith(
    origin: Origin,
    events: readonly [AuditEvent, ...AuditEvent[]],
    change: (parameters: readonly unknown[]) => Promise<boolean>,
  ): Promise<boolean> {
    const [first, ...rest] = events;
    this.#backlog.refuseLate(this.#queue[0]?.since);
    const stream = this.#continued(this.#idle.pop());
    const batch = stream.append([this.#draft(origin, first), ...rest.map((event) => this.#draft(origin, event))]);
    // where this throws, or nothing was changed, the stream has a gap and is given up
    if (!(await change(batchParameters(batch, this.#settings.keys)))) return false;
    this.#idle.push(stream);
    this.#isWritten(batch);
    return true;
  }

  /**
   * Answers with a function that writes these events. Where it rejects they may be on disk all the same; called again, it
   * sends the same batch, so that they are never there twice.
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
        // they are not there, and the database has no link that they could follow
        stream = this.#begun(clock());
        batch = stream.append(draftsOf(batch));
        await insertBatchOnce(database, batch, keys);
      }
      this.#idle.push(stream);
      this.#isWritten(batch);
    };
  }

  /** The transaction's stream; where it is rolled back the stream is given up with it. */
  #streamOf(tx: Tx): Stream {
    const found = this.#ofTransactions.get(tx);
    if (found) return found;
    const stream = this.#continued(this.#idle.pop());
    this.#ofTransactions.set(tx, stream);
    afterCommit(tx, () => this.#idle.push(stream));
    return stream;
  }

  /** How many requests wait for their events to be written. */
  get waiting(): number {
    return this.#queue.length;
  }

  /** Where the streams that this process wrote stand, as it remembers them; those that a checkpoint has named are forgotten. */
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

  /** When everything that has arrived by now was looked at: requests that came together share a statement. */
  #flush(): void {
    if (this.#flushing) return;
    this.#flushing = true;
    setImmediate(() => {
      this.#flushing = false;
      const { outage } = this.#settings;
      if (outage?.away) return this.#hold(outage, this.#queue.splice(0));
      while (this.#free.length > 0 && this.#queue.length > 0) {
        void this.#send(this.#free.pop(), this.#queue.splice(0, BATCH_LIMIT));
      }
    });
  }

  async #send(lane: Stream | undefined, waiting: readonly Waiting[]): Promise<void> {
    let stream: Stream | undefined = this.#continued(lane);
    let batch: Batch | undefined;
    try {
      const [first, ...rest] = waiting.flatMap(({ drafts }) => drafts);
      batch = stream.append([first!, ...rest]);
      await this.#backlog.follow(waiting[0]!.since, insertBatch(this.#settings.database, batch, this.#settings.keys));
      this.#isWritten(batch);
      for (const { resolve } of waiting) resolve();
    } catch (error) {
      stream = undefined;
      // nothing was written: a stream of its own has no earlier link that a database could lack
      if (error instanceof AnotherDatabase) this.#queue.unshift(...waiting);
      else await this.#failed(error, waiting, batch);
    } finally {
      this.#free.push(stream);
      this.#flush();
    }
  }

  /** Where the database is away as a whole, a batch is kept: nobody knows whether it was carried out. */
  async #failed(error: unknown, waiting: readonly Waiting[], batch: Batch | undefined): Promise<void> {
    const { outage } = this.#settings;
    // what has waited behind it would only be refused later
    if (isLate(error)) for (const { reject } of this.#queue.splice(0)) reject(notWritten(error));
    if (!batch || !isAway(error) || !outage?.permits) {
      for (const { reject } of waiting) reject(notWritten(error));
      return;
    }
    const { held } = outage;
    held.holdSent(batch);
    // it may only have been this one connection
    while (held.has(batch) && (await outage.check()));
    for (const entry of batch.entries) this.#log(entry);
    for (const { drafts, resolve, reject } of waiting) {
      if (!held.has(batch) || drafts.every(mayWait)) resolve();
      else reject(notWritten(error));
    }
  }

  #hold(outage: Outage, waiting: readonly Waiting[]): void {
    for (const { drafts, resolve, reject } of waiting) {
      if (!outage.permits || !drafts.every(mayWait)) {
        reject(new Unavailable('The database is away.'));
        continue;
      }
      outage.held.hold(drafts);
      for (const draft of drafts) this.#log(draft);
      resolve();
    }
  }

  /** Writes what was held, on a connection that is let through to find out whether the database is back. */
  async writeHeld(database: Database, milliseconds: number): Promise<void> {
    const until = performance.now() + milliseconds;
    for (;;) {
      const batch = await this.#settings.outage?.held.writeSome(database);
      if (!batch) return;
      this.#remember(batch);
      if (performance.now() > until) return;
    }
  }

  #continued(stream: Stream | undefined): Stream {
    const now = this.#settings.clock();
    const age = stream && Math.abs(now.getTime() - stream.beganAt.getTime());
    const goesOn =
      stream && age! < LANE_STREAM_LIFETIME_MILLISECONDS && stream.database === this.#settings.identity?.();
    return goesOn ? stream : this.#begun(now);
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

/** A token that a client gets for itself. A refusal is not worth the room, nor may it fill it. */
function mayWait({ event, account_id, details }: Draft): boolean {
  return event === 'token.issued' && account_id === null && details['grant_type'] === 'client_credentials';
}

function storableName(name: string | undefined): string | null {
  return name === undefined ? null : storable(name);
}

/**
 * Details in the order of their names (see chain.ts), however deep. They may quote a request, and a request may hold
 * anything: nothing in it may keep its event, and those that are written with it, from being written.
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
