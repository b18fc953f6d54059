/** Reads new rows of the change log and calls the listeners that drop cached values on this node. */
import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { sql } from 'kysely';
import type pg from 'pg';
import { outsideTimeBudget } from '../base/time_budget.ts';
import type { Clock } from '../base/clock.ts';
import { connectClient, createClient, type Database } from '../db/connection.ts';
import { databaseIdentity } from '../db/identity.ts';
import { CHANNEL, type LoggedChange, type Topic } from './log.ts';

export interface FollowerSettings {
  readonly database: Database;
  /** For LISTEN, on a connection of its own; without it only the poll reads the log. */
  readonly connectionString: string | undefined;
  readonly pollMilliseconds: number;
  readonly clock: Clock;
  readonly onError: (error: unknown) => void;
  /** Whether no request arrived lately. The poll is then slower, as long as NOTIFY is proven to work. */
  readonly atRest?: (() => boolean) | undefined;
  /** Makes the node's other processes read the log too; never rejects. */
  readonly catchUpOthers?: (() => Promise<void>) | undefined;
}

/**
 * `another_run`: the server was restarted, or another one answers. `log_went_back`: it lacks numbers that it had
 * before.
 */
export type Replaced = 'another_run' | 'log_went_back';

type Listener = (key: string) => void | Promise<void>;

/** The part of each read that identifies the log, with the last number it gave out, if this user may see that. */
interface LogState {
  readonly identity: string;
  readonly last_number: number | null;
}

interface TailRow extends LogState {
  /** `null` in the single row of a read that found no changes. */
  readonly sequence: number | null;
  readonly topic: Topic;
  readonly key: string;
}

/**
 * PostgreSQL assigns sequence numbers before transactions commit, so a lower one may appear after a higher one. The
 * follower remembers such gaps and reads them again for as long as a transaction may last.
 */
const GAP_LIFETIME_MILLISECONDS = 30_000;
/** One transaction can name thousands of clients, such as all clients that lose a scope. */
const GAPS_AT_MOST = 20_000;
/** After this time without a read, rows may have been deleted: drop all caches. */
const UNREAD_LIMIT_MILLISECONDS = 600_000;
/** The slower poll. Readiness and `vouch` accept this age as fresh. */
const POLL_MILLISECONDS_AT_REST = 2_500;

/** The number is null for a user without a right to the sequence; the identity still shows each restore. */
const logState = sql<LogState>`select ${databaseIdentity} as identity,
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
  /** The last number that the log gave out. It gets lower only if the database is set back. */
  #lastNumber = 0;
  #readAt = 0;
  /** Whether some listener has not been called for a row that was read. */
  #behind = false;
  #reading: Promise<void> | undefined;
  #stopped = new AbortController();
  #loop: Promise<void> | undefined;
  #listener: pg.Client | undefined;
  /** Only this process listens here: its own notification comes back if NOTIFY works. */
  readonly #ownChannel = `gatehouse_echo_${randomBytes(8).toString('hex')}`;
  #notifyWorks = false;

  constructor(settings: FollowerSettings) {
    this.#settings = settings;
  }

  /** Calls `listener` with the key of each change of a topic, including changes of this node. */
  on(topic: Topic, listener: Listener): void {
    this.#listeners.set(topic, [...(this.#listeners.get(topic) ?? []), listener]);
  }

  /** Calls `listener` when changes may have been missed; it must drop everything that it caches. */
  onReset(listener: () => void | Promise<void>): void {
    this.#resets.push(listener);
  }

  /** Called when the log was replaced by another one, after the reset. */
  onReplaced(listener: (why: Replaced) => void): void {
    this.#replacements.push(listener);
  }

  /** Starts at the present end of the log; call it before the caches fill. */
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

  /** Reads the log in all processes of this node. After a change of its own, a node calls this before it responds. */
  async catchUp(): Promise<void> {
    await Promise.all([this.catchUpHere(), this.#settings.catchUpOthers?.()]);
  }

  /** Reads the log in this process only. */
  async catchUpHere(): Promise<void> {
    await this.#reading?.catch(() => {});
    await this.#read();
  }

  /** The identity of the database from which the log was read (db/identity.ts); `undefined` before the start. */
  get identity(): string | undefined {
    return this.#identity;
  }

  /** The time since the last read of the log. */
  ageMilliseconds(): number {
    return this.#settings.clock().getTime() - this.#readAt;
  }

  async #poll(): Promise<void> {
    while (!this.#stopped.signal.aborted) {
      await this.#read().catch(this.#settings.onError);
      await this.#pause();
    }
  }

  /** Waits until the next read: longer if no requests arrive and NOTIFY has just returned the echo. */
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
    this.#reading ??= outsideTimeBudget(() => this.#readTail()).finally(() => {
      this.#reading = undefined;
    });
    return this.#reading;
  }

  async #readTail(): Promise<void> {
    const now = this.#settings.clock().getTime();
    if (this.#behind || now - this.#readAt > UNREAD_LIMIT_MILLISECONDS) return this.#reset(now);
    for (const [sequence, seenAt] of this.#gaps) {
      if (Math.abs(now - seenAt) > GAP_LIFETIME_MILLISECONDS) this.#gaps.delete(sequence);
    }
    const { rows } = await sql<TailRow>`select state.*, c.sequence, c.topic, c.key from (${logState}) state
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
    // if a listener fails because it can't read the changed object, it must be called again
    this.#behind = true;
    for (const { topic, key } of tail) await this.#notify({ topic, key });
    this.#behind = false;
    this.#readAt = now;
  }

  /** If the database was set back, new changes have numbers below the position, which this node does not read. */
  #replaced({ identity, last_number: lastNumber }: LogState): Replaced | undefined {
    if (identity !== this.#identity) return 'another_run';
    if (lastNumber !== null && lastNumber < this.#lastNumber) return 'log_went_back';
    this.#lastNumber = lastNumber ?? this.#lastNumber;
    return undefined;
  }

  /** Moves the position past the rows and notes the missing numbers as gaps. */
  #follow(rows: readonly { sequence: number }[], now: number): void {
    for (const { sequence } of rows) {
      const first = Math.max(this.#position + 1, sequence - GAPS_AT_MOST);
      for (let missing = first; missing < sequence; missing++) this.#gaps.set(missing, now);
      this.#gaps.delete(sequence);
      this.#position = Math.max(this.#position, sequence);
    }
    // the oldest gaps are the least likely to be filled
    for (const sequence of this.#gaps.keys()) {
      if (this.#gaps.size <= GAPS_AT_MOST) break;
      this.#gaps.delete(sequence);
    }
  }

  async #reset(now: number): Promise<void> {
    // until all is read: a failed reset starts again
    this.#behind = true;
    await this.#begin(now);
    for (const reset of this.#resets) await reset();
    this.#behind = false;
    this.#readAt = now;
  }

  async #notify(change: LoggedChange): Promise<void> {
    for (const listener of this.#listeners.get(change.topic) ?? []) await listener(change.key);
  }

  /** Treats the log's last rows as read. Gaps between them may still be filled. */
  async #begin(now: number): Promise<void> {
    const { database } = this.#settings;
    const { rows: states } = await logState.execute(database);
    const rows = await database
      .selectFrom('changes')
      .select('sequence')
      .orderBy('sequence', 'desc')
      .limit(GAPS_AT_MOST)
      .execute();
    this.#identity = states[0]!.identity;
    this.#lastNumber = states[0]!.last_number ?? 0;
    this.#gaps.clear();
    // below the first row, too: a lower number may still be uncommitted
    this.#position = Math.max(0, (rows[0]?.sequence ?? 0) - GAPS_AT_MOST);
    this.#follow(rows.reverse(), now);
  }

  /** Reads the log at each notification. If LISTEN fails or the server has none, the poll continues alone. */
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
        // a server without LISTEN returned an error on a connection that is still open
        void client.end().catch(() => {});
      }
      await delay(1_000, undefined, { signal: this.#stopped.signal, ref: false }).catch(() => {});
    }
  }
}
