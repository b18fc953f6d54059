/**
 * The audit trail: append-only, one stream per node process. An event of a change is written in that change's own
 * transaction; an event that changes nothing else (a token issued, a login failed) shares its transaction with those
 * of other requests: a batch forms by itself while the one before is being written, and the answer waits for it.
 */
import { randomUUID } from 'node:crypto';
import { sql } from 'kysely';
import type { Clock } from '../base/clock.ts';
import { json, storable, Unavailable, type Database, type Tx } from '../db/connection.ts';
import { afterCommit } from '../db/transaction.ts';
import type { AuditEvent, Detail, Origin } from './events.ts';

/** Where the same events go as structured lines; pino's child logger fits. */
export interface AuditLog {
  info(fields: object, message: string): void;
}

export interface TrailSettings {
  readonly database: Database;
  readonly log: AuditLog;
  readonly clock: Clock;
}

interface Row {
  readonly sequence: number;
  readonly occurred_at: Date;
  readonly event: string;
  readonly outcome: 'success' | 'refused';
  readonly actor_type: 'client' | 'account' | 'system' | 'anonymous';
  readonly actor_id: string | null;
  readonly account_id: string | null;
  readonly client_id: string | null;
  readonly address: string | null;
  readonly request_id: string | null;
  readonly details: object;
}

interface Waiting {
  readonly rows: readonly Row[];
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

const BATCH_LIMIT = 500;
/** Two, so that the next batch is on its way while the disk still answers for the one before. */
const BATCHES_IN_FLIGHT = 2;

export class AuditTrail {
  readonly stream: string = randomUUID();
  readonly #settings: TrailSettings;
  readonly #queue: Waiting[] = [];
  #sequence = 0;
  #inFlight = 0;

  constructor(settings: TrailSettings) {
    this.#settings = settings;
  }

  /** Resolves when the events are on disk; rejects when they are not, and then no answer may be given. */
  record(origin: Origin, ...events: readonly AuditEvent[]): Promise<void> {
    if (events.length === 0) return Promise.resolve();
    const rows = events.map((event) => this.#row(origin, event));
    return new Promise((resolve, reject) => {
      this.#queue.push({ rows, resolve, reject });
      this.#flush();
    });
  }

  /** Records an event as part of a change: both are on disk, or neither. */
  async recordIn(tx: Tx, origin: Origin, event: AuditEvent): Promise<void> {
    const row = this.#row(origin, event);
    await tx
      .insertInto('audit_events')
      .values({ ...row, stream: this.stream, details: json(row.details) })
      .execute()
      .catch((error: unknown) => Promise.reject(notWritten(error)));
    afterCommit(tx, () => this.#write(row));
  }

  /** How many events wait to be written. */
  get waiting(): number {
    return this.#queue.length;
  }

  #row(origin: Origin, event: AuditEvent): Row {
    const { actor } = origin;
    return {
      sequence: ++this.#sequence,
      occurred_at: this.#settings.clock(),
      event: event.event,
      outcome: event.outcome,
      actor_type: actor.type,
      actor_id: 'id' in actor ? actor.id : null,
      account_id: event.accountId ?? null,
      client_id: event.clientId ?? null,
      address: origin.address ?? null,
      request_id: origin.requestId ?? null,
      details: withStorableText(event.details ?? {}),
    };
  }

  #flush(): void {
    while (this.#inFlight < BATCHES_IN_FLIGHT && this.#queue.length > 0) {
      void this.#send(this.#queue.splice(0, BATCH_LIMIT));
    }
  }

  async #send(batch: readonly Waiting[]): Promise<void> {
    this.#inFlight++;
    const rows = batch.flatMap((waiting) => waiting.rows);
    try {
      // one parameter for the whole batch: the statement stays the same whatever its size
      await sql`insert into audit_events
        select ${this.stream}::uuid, b.* from jsonb_to_recordset(${json(rows)}::jsonb) as b(sequence bigint,
        occurred_at timestamptz, event text, outcome text, actor_type text, actor_id text, account_id text,
        client_id text, address text, request_id text, details jsonb)`.execute(this.#settings.database);
      for (const row of rows) this.#write(row);
      for (const waiting of batch) waiting.resolve();
    } catch (error) {
      for (const waiting of batch) waiting.reject(notWritten(error));
    } finally {
      this.#inFlight--;
      this.#flush();
    }
  }

  #write({ event, sequence, ...fields }: Row): void {
    this.#settings.log.info({ audit: { stream: this.stream, sequence, event, ...fields } }, event);
  }
}

/** Whatever the reason, what is not on record is not done; it may work again in a moment. */
function notWritten(cause: unknown): Unavailable {
  return new Unavailable('The audit trail can not be written.', { cause });
}

/** Details may quote a request, and a request may hold anything: nothing in it may keep its event from being written. */
function withStorableText(details: Readonly<Record<string, Detail>>): object {
  const entries = Object.entries(details).map(([name, value]) => [
    name,
    typeof value === 'string' ? storable(value) : value,
  ]);
  return Object.fromEntries(entries) as object;
}
