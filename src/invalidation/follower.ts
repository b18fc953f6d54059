/** Reads the change log's tail and tells this node's caches what to drop. */
import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { sql } from 'kysely';
import type pg from 'pg';
import type { Clock } from '../base/clock.ts';
import { connectClient, createClient, type Database } from '../db/connection.ts';
import { databaseIdentity } from '../db/identity.ts';
import { CHANNEL, type Change, type Topic } from './log.ts';

export interface FollowerSettings {
  readonly database: Database;
  /** For LISTEN, on a connection of its own; without it the poll alone carries the news. */
  readonly connectionString: string | undefined;
  readonly pollMilliseconds: number;
  readonly clock: Clock;
  readonly onError: (error: unknown) => void;
  /** Whether no request came lately: then the poll is slower, for as long as NOTIFY is proven to work. */
  readonly atRest?: (() => boolean) | undefined;
  /** Makes the other processes of this node read, too; never rejects. */
  readonly catchUpOthers?: (() => Promise<void>) | undefined;
}

/** `another_run`: the server was started again, or another one answers. `log_went_back`: it lacks numbers that were there. */
export type Replaced = 'another_run' | 'log_went_back';

type Listener = (key: string) => void | Promise<void>;

/** What is read with every look: whose log it is, and the last number that was given out, where this user may see it. */
interface Look {
  readonly identity: string;
  readonly last_number: number | null;
}

interface TailRow extends Look {
  /** `null` in the one row of a look that found nothing. */
  readonly sequence: number | null;
  readonly topic: Topic;
  readonly key: string;
}

/**
 * Sequence numbers are handed out before their transactions commit, so a lower one may appear after a higher one.
 * The follower therefore remembers the gaps it has seen and asks for them again for as long as a transaction may last.
 */
const GAP_LIFETIME_MILLISECONDS = 30_000;
/** One transaction can name thousands of clients: those that a scope is taken from. */
const GAPS_AT_MOST = 20_000;
/** After this long without reading, the log may have been trimmed: forget everything rather than trust a cache. */
const BLIND_LIMIT_MILLISECONDS = 600_000;
/** The slower poll. Readiness and `vouch` take knowledge of this age for fresh. */
const POLL_MILLISECONDS_AT_REST = 2_500;

/** The number is for a user who may not see the sequence unknown: whose log it is still shows every set-back. */
const look = sql<Look>`select ${databaseIdentity} as identity,
  case when has_sequence_privilege('changes_sequence_seq', 'select')
    then pg_sequence_last_value('changes_sequence_seq') end as last_number`;

export class InvalidationFollower {
  readonly #settings: FollowerSettings;
  readonly #listeners = new Map<Topic, Listener[]>();
  readonly #resets: (() => void | Promise<void>)[] = [];
  readonly #replacements: ((why: Replaced) => void)[] = [];
  readonly #gaps = new Map<number, number>();
  #position = 0;
  #identity: string | undefined;
  /** The last number that the log has given out: it never gets lower, unless the database is set back. */
  #lastNumber = 0;
  #readAt = 0;
  /** Not every listener has heard of all that was read. */
  #behind = false;
  #reading: Promise<void> | undefined;
  #stopped = new AbortController();
  #loop: Promise<void> | undefined;
  #listener: pg.Client | undefined;
  /** Only this process listens there: what it sends itself comes back where NOTIFY works. */
  readonly #ownChannel = `gatehouse_echo_${randomBytes(8).toString('hex')}`;
  #notifyWorks = false;

  constructor(settings: FollowerSettings) {
    this.#settings = settings;
  }

  /** Called with the key of every change of a topic, this node's own ones included. */
  on(topic: Topic, listener: Listener): void {
    this.#listeners.set(topic, [...(this.#listeners.get(topic) ?? []), listener]);
  }

  /** Called when changes may have been missed: whatever is cached must be dropped. */
  onReset(listener: () => void | Promise<void>): void {
    this.#resets.push(listener);
  }

  /** Called when the log is not the one that was read so far, after the reset. */
  onReplaced(listener: (why: Replaced) => void): void {
    this.#replacements.push(listener);
  }

  /** Starts at the log's present end: call it before the caches fill. */
  async start(): Promise<void> {
    const now = this.#settings.clock().getTime();
    await this.#begin(now);
    this.#readAt = now;
    this.#loop = this.#poll();
    void this.#listen();
  }

  async stop(): Promise<void> {
    this.#stopped.abort();
    await this.#loop;
    await this.#listener?.end().catch(() => {});
  }

  /** Reads now: after a change of this node's own, so that it is in force here when the change is answered. */
  async catchUp(): Promise<void> {
    await Promise.all([this.catchUpHere(), this.#settings.catchUpOthers?.()]);
  }

  /** In this process alone. */
  async catchUpHere(): Promise<void> {
    await this.#reading?.catch(() => {});
    await this.#read();
  }

  /** Which database the log was read from (db/identity.ts); `undefined` before the start. */
  get identity(): string | undefined {
    return this.#identity;
  }

  /** How long ago the log was last read. */
  ageMilliseconds(): number {
    return this.#settings.clock().getTime() - this.#readAt;
  }

  async #poll(): Promise<void> {
    while (!this.#stopped.signal.aborted) {
      await this.#read().catch(this.#settings.onError);
      await this.#pause();
    }
  }

  /** Until the next look: longer where nobody asks and NOTIFY has just brought an echo. */
  async #pause(): Promise<void> {
    const { pollMilliseconds, atRest } = this.#settings;
    const { signal } = this.#stopped;
    const rests = (): boolean => atRest?.() ?? false;
    this.#notifyWorks = false;
    if (rests()) this.#listener?.query(`notify ${this.#ownChannel}`).catch(() => {});
    let waited = 0;
    do {
      await delay(pollMilliseconds, undefined, { signal, ref: false }).catch(() => {});
      waited += pollMilliseconds;
    } while (!signal.aborted && this.#notifyWorks && rests() && waited < POLL_MILLISECONDS_AT_REST);
  }

  #read(): Promise<void> {
    this.#reading ??= this.#readTail().finally(() => {
      this.#reading = undefined;
    });
    return this.#reading;
  }

  async #readTail(): Promise<void> {
    const now = this.#settings.clock().getTime();
    if (this.#behind || now - this.#readAt > BLIND_LIMIT_MILLISECONDS) return this.#reset(now);
    for (const [sequence, seenAt] of this.#gaps) {
      if (Math.abs(now - seenAt) > GAP_LIFETIME_MILLISECONDS) this.#gaps.delete(sequence);
    }
    const { rows } = await sql<TailRow>`select here.*, c.sequence, c.topic, c.key from (${look}) here
      left join changes c on c.sequence > ${this.#position} or c.sequence = any(${[...this.#gaps.keys()]}::bigint[])
      order by c.sequence`.execute(this.#settings.database);
    const replaced = this.#replaced(rows[0]!);
    if (replaced) {
      await this.#reset(now);
      for (const listener of this.#replacements) listener(replaced);
      return;
    }
    const tail = rows.filter((row): row is TailRow & { sequence: number } => row.sequence !== null);
    this.#follow(tail, now);
    // a listener that fails, because it can't read what changed, must hear of it again
    this.#behind = true;
    for (const { topic, key } of tail) await this.#tell({ topic, key });
    this.#behind = false;
    this.#readAt = now;
  }

  /** Changes of a database that was set back have numbers below the position, where this node never looks. */
  #replaced({ identity, last_number: lastNumber }: Look): Replaced | undefined {
    if (identity !== this.#identity) return 'another_run';
    if (lastNumber !== null && lastNumber < this.#lastNumber) return 'log_went_back';
    this.#lastNumber = lastNumber ?? this.#lastNumber;
    return undefined;
  }

  /** Moves the position past the rows, noting which numbers are not there yet. */
  #follow(rows: readonly { sequence: number }[], now: number): void {
    for (const { sequence } of rows) {
      const first = Math.max(this.#position + 1, sequence - GAPS_AT_MOST);
      for (let missing = first; missing < sequence; missing++) this.#gaps.set(missing, now);
      this.#gaps.delete(sequence);
      this.#position = Math.max(this.#position, sequence);
    }
    // the oldest are the least likely to be filled
    for (const sequence of this.#gaps.keys()) {
      if (this.#gaps.size <= GAPS_AT_MOST) break;
      this.#gaps.delete(sequence);
    }
  }

  async #reset(now: number): Promise<void> {
    // until everything was read: a reset that fails is begun again
    this.#behind = true;
    await this.#begin(now);
    for (const reset of this.#resets) await reset();
    this.#behind = false;
    this.#readAt = now;
  }

  async #tell(change: Change): Promise<void> {
    for (const listener of this.#listeners.get(change.topic) ?? []) await listener(change.key);
  }

  /** Takes the log's last rows as read: what is missing between them may still be on its way. */
  async #begin(now: number): Promise<void> {
    const { database } = this.#settings;
    const { rows: looks } = await look.execute(database);
    const rows = await database
      .selectFrom('changes')
      .select('sequence')
      .orderBy('sequence', 'desc')
      .limit(GAPS_AT_MOST)
      .execute();
    this.#identity = looks[0]!.identity;
    this.#lastNumber = looks[0]!.last_number ?? 0;
    this.#gaps.clear();
    // below the first row, too: it may have overtaken one that is still on its way
    this.#position = Math.max(0, (rows[0]?.sequence ?? 0) - GAPS_AT_MOST);
    this.#follow(rows.reverse(), now);
  }

  /** Wakes the reader at once. Where LISTEN fails or the server has none, the poll goes on alone. */
  async #listen(): Promise<void> {
    const { connectionString, onError } = this.#settings;
    if (connectionString === undefined) return;
    while (!this.#stopped.signal.aborted) {
      const client = createClient(connectionString, 'gatehouse listener');
      const ended = new Promise<void>((resolve) => {
        client.on('end', resolve);
        client.on('error', () => resolve());
      });
      client.on('notification', ({ channel }) => {
        if (channel === this.#ownChannel) this.#notifyWorks = true;
        else void this.#read().catch(onError);
      });
      try {
        await connectClient(client);
        if (this.#stopped.signal.aborted) return;
        this.#listener = client;
        await client.query(`listen ${CHANNEL}; listen ${this.#ownChannel}`);
        await ended;
      } catch (error) {
        onError(error);
      } finally {
        this.#notifyWorks = false;
        // a server that knows no LISTEN has answered so on a connection that is still open
        void client.end().catch(() => {});
      }
      await delay(1_000, undefined, { signal: this.#stopped.signal, ref: false }).catch(() => {});
    }
  }
}
