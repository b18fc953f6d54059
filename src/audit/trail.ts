/**
 * The audit trail: append-only, and evidence. Every entry stands in a stream, numbered without a gap, and is covered by
 * a link that lists its hash and names the link before (chain.ts). Who writes has a stream to itself, so that nobody
 * ever waits for somebody else's link: each of a node's two lanes has one, and each transaction has one. An event that
 * changes nothing else (a token issued, a login failed) waits in a queue for a free lane and is written with all that
 * waits there: a batch forms by itself while the one before is being written, and the answer waits for it. An event of
 * a change is written in that change's own transaction, as a stream that begins and ends with it: it is there with its
 * link, or rolled back with its link. In either case entries and link are ONE statement, so no entry is ever without
 * one, whenever a node dies. A lane whose statement failed can't know whether it was carried out, so it begins another
 * stream. Each link carries a seal (an HMAC under a key that the database doesn't have); once a minute the heads of the
 * streams that grew are put under a signed checkpoint (checkpoints.ts), which looks at the seals first, and compares
 * what the database says of this node's streams with what this node remembers. Exported and verified: evidence.ts,
 * verifier.ts.
 */
import { sql } from 'kysely';
import { DAY_SECONDS, type Clock } from '../base/clock.ts';
import { storable, storableJson, Unavailable, type Database, type Reader, type Tx } from '../db/connection.ts';
import { afterCommit } from '../db/transaction.ts';
import type { AuditKeys } from './audit_keys.ts';
import { Stream, type Batch, type Draft, type Entry, type Head } from './chain.ts';
import type { AuditEvent, Detail, Origin } from './events.ts';

/** Where the same entries go as structured lines; pino's child logger fits. */
export interface AuditLog {
  info(fields: object, message: string): void;
}

export interface TrailSettings {
  readonly database: Database;
  readonly keys: Pick<AuditKeys, 'seal'>;
  readonly log: AuditLog;
  readonly clock: Clock;
}

interface Waiting {
  readonly drafts: readonly Draft[];
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

const BATCH_LIMIT = 500;
/** Two, so that the next batch is on its way while the disk still answers for the one before. */
const LANES = 2;
/** A stream that ends while it is remembered is one that retention can drop whole. */
const LANE_STREAM_LIFETIME_MILLISECONDS = DAY_SECONDS * 1000;
/** Heads that no checkpoint has named: far more than can gather between two of them. */
const REMEMBERED_AT_MOST = 50_000;

export class AuditTrail {
  readonly #settings: TrailSettings;
  readonly #queue: Waiting[] = [];
  /** Lanes that nothing is being written in, each with its stream, if it has begun one. */
  readonly #free: (Stream | undefined)[] = Array.from({ length: LANES }, () => undefined);
  #flushing = false;
  readonly #ofTransactions = new WeakMap<Tx, Stream>();
  readonly #written = new Map<string, Head>();

  constructor(settings: TrailSettings) {
    this.#settings = settings;
  }

  /** Resolves when the events are on disk; rejects when they are not, and then no answer may be given. */
  record(origin: Origin, ...events: readonly AuditEvent[]): Promise<void> {
    if (events.length === 0) return Promise.resolve();
    const drafts = events.map((event) => this.#draft(origin, event));
    return new Promise((resolve, reject) => {
      this.#queue.push({ drafts, resolve, reject });
      this.#flush();
    });
  }

  /** Records an event as part of a change: both are on disk, or neither. */
  recordIn(tx: Tx, origin: Origin, event: AuditEvent): Promise<void> {
    return this.recordAllIn(tx, [{ origin, event }]);
  }

  /** The same for events of several requests. */
  async recordAllIn(
    tx: Tx,
    records: readonly { readonly origin: Origin; readonly event: AuditEvent }[],
  ): Promise<void> {
    const [first, ...rest] = records.map(({ origin, event }) => this.#draft(origin, event));
    if (!first) return;
    const stream = this.#ofTransactions.get(tx) ?? new Stream(this.#settings.clock());
    this.#ofTransactions.set(tx, stream);
    const batch = stream.append([first, ...rest]);
    await this.#insert(tx, batch).catch((error: unknown) => Promise.reject(notWritten(error)));
    afterCommit(tx, () => this.#isWritten(batch));
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
      actor: 'id' in actor ? { id: actor.id, type: actor.type } : { type: actor.type },
      account_id: event.accountId ?? null,
      client_id: event.clientId ?? null,
      address: origin.address ?? null,
      request_id: origin.requestId ?? null,
      details: inOrder(event.details ?? {}),
    };
  }

  /** When everything that has arrived by now was looked at: requests that came together share a statement. */
  #flush(): void {
    if (this.#flushing) return;
    this.#flushing = true;
    setImmediate(() => {
      this.#flushing = false;
      while (this.#free.length > 0 && this.#queue.length > 0) {
        void this.#send(this.#free.pop(), this.#queue.splice(0, BATCH_LIMIT));
      }
    });
  }

  async #send(lane: Stream | undefined, waiting: readonly Waiting[]): Promise<void> {
    let stream: Stream | undefined = this.#continued(lane);
    try {
      const [first, ...rest] = waiting.flatMap(({ drafts }) => drafts);
      const batch = stream.append([first!, ...rest]);
      await this.#insert(this.#settings.database, batch);
      this.#isWritten(batch);
      for (const { resolve } of waiting) resolve();
    } catch (error) {
      stream = undefined;
      for (const { reject } of waiting) reject(notWritten(error));
    } finally {
      this.#free.push(stream);
      this.#flush();
    }
  }

  #continued(stream: Stream | undefined): Stream {
    const now = this.#settings.clock();
    const age = stream && Math.abs(now.getTime() - stream.beganAt.getTime());
    return stream && age! < LANE_STREAM_LIFETIME_MILLISECONDS ? stream : new Stream(now);
  }

  /** One parameter for all entries: the statement stays the same however many there are. */
  async #insert(database: Reader, { text, link, hashes, hash }: Batch): Promise<void> {
    await sql`with link as (
        insert into audit_links (stream, number, previous, first_sequence, begins_at, entries, seal)
        values (${link.stream}, ${link.number}, ${link.previous && Buffer.from(link.previous, 'base64url')},
          ${link.first}, ${link.begins_at}, ${hashes}, ${this.#settings.keys.seal(hash)}))
      insert into audit_events (stream, sequence, occurred_at, event, outcome, actor_type, actor_id, account_id,
        client_id, address, request_id, details)
      select stream, sequence, occurred_at, event, outcome, actor->>'type', actor->>'id', account_id, client_id,
        address, request_id, details
      from jsonb_to_recordset(${storableJson(text)}::jsonb) as b(stream uuid, sequence bigint,
        occurred_at timestamptz, event text, outcome text, actor jsonb, account_id text, client_id text, address text,
        request_id text, details jsonb)`.execute(database);
  }

  #isWritten({ entries, link: { stream, number, begins_at }, hash }: Batch): void {
    if (this.#written.size < REMEMBERED_AT_MOST || this.#written.has(stream))
      this.#written.set(stream, { number, hash, begins_at });
    for (const entry of entries) this.#log(entry);
  }

  #log({ event, ...fields }: Entry): void {
    this.#settings.log.info({ audit: { event, ...fields } }, event);
  }
}

/** Whatever the reason, what is not on record is not done; it may work again in a moment. */
function notWritten(cause: unknown): Unavailable {
  return new Unavailable('The audit trail can not be written.', { cause });
}

/**
 * Details in the order of their names (see chain.ts). They may quote a request, and a request may hold anything:
 * nothing in it may keep its event from being written.
 */
function inOrder(details: Readonly<Record<string, Detail>>): Draft['details'] {
  const ordered: Record<string, unknown> = {};
  for (const name of Object.keys(details).sort()) ordered[name] = storableDetail(details[name]);
  return ordered;
}

function storableDetail(value: Detail): Detail {
  if (typeof value === 'string') return storable(value);
  return Array.isArray(value) ? (value as readonly string[]).map(storable) : value;
}
