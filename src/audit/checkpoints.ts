/**
 * Makes checkpoints. Any node may do this, one at a time. Each checkpoint names the heads of all streams that grew
 * since the previous one, whichever node wrote them, and never a link without a valid seal. For streams of its own
 * process, a node names the heads that it remembers, not those in the database: so a verifier notices if an entry was
 * removed or changed since.
 *
 * A database that was set back (a failover to a standby that lacked the last changes, a restored backup) is not
 * tampering. Ends of streams and checkpoints that this process remembers from another run of the server, and that the
 * database lacks, are named in the entry `audit.set_back`, and the chain continues from the present state of the
 * database.
 */
import { setImmediate } from 'node:timers/promises';
import { sql } from 'kysely';
import { addSeconds, DAY_SECONDS, type Clock } from '../base/clock.ts';
import type { Database, Tx } from '../db/connection.ts';
import { readIdentity } from '../db/identity.ts';
import { afterCommit, transact } from '../db/transaction.ts';
import type { AuditKeys } from './audit_keys.ts';
import { hashOf, type Head, type Link } from './chain.ts';
import { SYSTEM } from './events.ts';
import {
  checkpointHash,
  readCheckpoint,
  signCheckpoint,
  verifyCheckpoint,
  type Checkpoint,
  type Segment,
} from './checkpoint.ts';
import { linkColumns, storedLink, type LinkRow, type StoredLink } from './link_rows.ts';
import { monthOf } from './partitions.ts';
import type { AuditTrail } from './trail.ts';

export interface CheckpointLog {
  info(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export interface CheckpointSettings {
  readonly database: Database;
  readonly keys: AuditKeys;
  readonly trail: AuditTrail;
  readonly clock: Clock;
  readonly log: CheckpointLog;
  /** 0: everything is kept. */
  readonly retentionDays: number;
}

/** Keeps a checkpoint below some hundred kilobytes. */
const LINKS_AT_ONCE = 2_000;
/** The number of links that are hashed before the event loop handles requests. */
const LINKS_IN_A_ROW = 50;
/** A version that wrote no links may still run for this time after an upgrade. */
const UPGRADE_SECONDS = 3_600;
const ALWAYS = new Date(0).toISOString();

/** The previous checkpoint, as this node remembers it or as the database has it. */
interface LastCheckpoint {
  readonly number: number;
  readonly hash: string;
  readonly madeAt: string;
  readonly chainedSince: string;
  /** The database in which this process last saw it (db/identity.ts). */
  readonly database: string;
}

interface PreviousCheckpoint {
  readonly last: LastCheckpoint | undefined;
  /** A checkpoint that this process remembers and a database that was set back lacks. */
  readonly lost?: LastCheckpoint | undefined;
}

/** What this process wrote and a database that was set back lacks. */
interface LostRecords {
  readonly streams: number;
  readonly entries: number;
  readonly checkpoint: LastCheckpoint | undefined;
}

export class Checkpoints {
  readonly #settings: CheckpointSettings;
  #last: LastCheckpoint | undefined;
  #madeAt: number;
  #making: Promise<void> = Promise.resolve();

  constructor(settings: CheckpointSettings) {
    this.#settings = settings;
    this.#madeAt = settings.clock().getTime();
  }

  /** Resolves when a checkpoint covers everything that was written before the call. */
  make(): Promise<void> {
    this.#making = this.#making.catch(() => {}).then(() => this.#makeAll());
    return this.#making;
  }

  /** The time since this node last finished a run of `make`. */
  ageMilliseconds(): number {
    return this.#settings.clock().getTime() - this.#madeAt;
  }

  async #makeAll(): Promise<void> {
    const began = this.#settings.clock().getTime();
    while (await this.#makeOne());
    this.#madeAt = began;
  }

  /** Makes one checkpoint if needed. Returns whether there may be more links to name. */
  async #makeOne(): Promise<boolean> {
    const { database, trail } = this.#settings;
    const remembered = trail.heads();
    const { last, whole, isLost } = await transact(database, async (tx) => {
      // a node that waits here then sees which links the other node has named
      await sql`select pg_advisory_xact_lock(hashtext('gatehouse.audit_checkpoints'))`.execute(tx);
      const identity = await readIdentity(tx);
      const { links: unnamed, whole: all } = await this.#unnamed(tx);
      const { segments, lost } = await this.#segments(tx, unnamed, all ? remembered : new Map(), identity);
      const isKnown = segments.length === 0 && (!this.#last || this.#last.database === identity);
      const before: PreviousCheckpoint = isKnown ? { last: this.#last } : await this.#before(tx, identity);
      const setBack: LostRecords = { ...lost, checkpoint: before.lost };
      const hasLoss = setBack.streams > 0 || setBack.checkpoint !== undefined;
      if (hasLoss) await this.#recordSetBack(tx, setBack, before.last);
      const signed = segments.length === 0 ? before.last : await this.#sign(tx, segments, before.last, identity);
      return { last: signed, whole: all, isLost: hasLoss };
    });
    this.#last = last;
    if (whole) trail.forget(remembered);
    // the entry about the loss also needs a checkpoint
    return !whole || isLost;
  }

  async #recordSetBack(
    tx: Tx,
    { streams, entries, checkpoint }: LostRecords,
    last: LastCheckpoint | undefined,
  ): Promise<void> {
    const { trail, log } = this.#settings;
    const details = {
      lost_streams: streams,
      lost_entries: entries,
      lost_checkpoint: checkpoint?.number ?? null,
      lost_checkpoint_hash: checkpoint?.hash ?? null,
      continues_after_checkpoint: last?.number ?? null,
    };
    await trail.recordIn(tx, SYSTEM, { event: 'audit.set_back', outcome: 'success', details });
    afterCommit(tx, () => log.error(details, 'audit.set_back'));
  }

  /** Returns the links with a valid seal that no checkpoint names yet; marks those without one with checkpoint 0. */
  async #unnamed(tx: Tx): Promise<{ links: StoredLink[]; whole: boolean }> {
    const { rows } = await sql<LinkRow>`select ${linkColumns} from audit_links l where checkpoint is null
      order by stream, number limit ${LINKS_AT_ONCE}`.execute(tx);
    const sealed: StoredLink[] = [];
    for (const [index, row] of rows.entries()) {
      if (index % LINKS_IN_A_ROW === 0) await setImmediate();
      const stored = storedLink(row);
      if (this.#settings.keys.isSealed(hashOf(stored.link), stored.seal)) sealed.push(stored);
      else await this.#putAside(tx, stored);
    }
    return { links: sealed, whole: rows.length < LINKS_AT_ONCE };
  }

  async #putAside(tx: Tx, { link, seal }: StoredLink): Promise<void> {
    this.#settings.log.error({ stream: link.stream, link: link.number }, 'audit.link_forged');
    await sql`update audit_links set checkpoint = 0
      where stream = ${link.stream} and number = ${link.number} and seal = ${seal} and checkpoint is null`.execute(tx);
  }

  async #segments(
    tx: Tx,
    unnamed: readonly StoredLink[],
    remembered: ReadonlyMap<string, Head>,
    identity: string,
  ): Promise<{ segments: Segment[]; lost: Omit<LostRecords, 'checkpoint'> }> {
    const grown = new Map<string, StoredLink[]>();
    for (const stored of unnamed) {
      const links = grown.get(stored.link.stream);
      if (links) links.push(stored);
      else grown.set(stored.link.stream, [stored]);
    }
    const streams = [...new Set([...grown.keys(), ...remembered.keys()])].sort();
    const named = await this.#named(tx, streams);
    const segments: Segment[] = [];
    const lost = { streams: 0, entries: 0 };
    for (const stream of streams) {
      const links = grown.get(stream) ?? [];
      const { number: after, hash, sequence } = named.get(stream) ?? { number: 0, hash: '', sequence: 0 };
      const head = remembered.get(stream);
      const found = links.find(({ link }) => link.number === head?.number);
      const isIntact =
        !head ||
        head.number < after ||
        (head.number === after ? head.hash === hash : found && head.hash === hashOf(found.link));
      const last = links.at(-1);
      const isCutOff = head && head.database !== identity && head.number > (last?.link.number ?? after);
      if (isCutOff) {
        lost.streams++;
        lost.entries += head.sequence - (last ? lastSequence(last.link) : sequence);
      }
      if (!isIntact && !isCutOff) {
        this.#settings.log.error({ stream, link: head.number }, 'audit.link_lost');
        const { begins_at } = links[0]?.link ?? head;
        segments.push({
          stream,
          after: Math.min(after, head.number - 1),
          number: head.number,
          head: head.hash,
          begins_at,
        });
      } else if (last) {
        const begins_at = links.reduce(
          (least, { link }) => (link.begins_at < least ? link.begins_at : least),
          last.link.begins_at,
        );
        segments.push({ stream, after, number: last.link.number, head: hashOf(last.link), begins_at });
      }
    }
    return { segments, lost };
  }

  /** The last link of each stream that a checkpoint names. */
  async #named(tx: Tx, streams: readonly string[]): Promise<Map<string, NamedHead>> {
    const { rows } = await sql<LinkRow>`select ${linkColumns} from unnest(${streams}::uuid[]) as s(stream)
      join lateral (select * from audit_links where stream = s.stream and checkpoint > 0
        order by number desc limit 1) l on true`.execute(tx);
    return new Map(
      rows
        .map(storedLink)
        .map(({ link }): [string, NamedHead] => [
          link.stream,
          { number: link.number, hash: hashOf(link), sequence: lastSequence(link) },
        ]),
    );
  }

  async #sign(
    tx: Tx,
    streams: readonly Segment[],
    last: LastCheckpoint | undefined,
    database: string,
  ): Promise<LastCheckpoint> {
    const { keys, log, retentionDays } = this.#settings;
    const now = this.#settings.clock();
    const made_at = last && last.madeAt > now.toISOString() ? last.madeAt : now.toISOString();
    const checkpoint: Checkpoint = {
      number: (last?.number ?? 0) + 1,
      previous: last?.hash ?? null,
      previous_made_at: last?.madeAt ?? null,
      made_at,
      chained_since: last?.chainedSince ?? (await beginning(tx, now)),
      retained_from: retainedFrom(now, retentionDays)?.toISOString() ?? null,
      streams,
    };
    const jws = signCheckpoint(checkpoint, keys);
    await tx
      .insertInto('audit_checkpoints')
      .values({ number: checkpoint.number, made_at: new Date(made_at), jws })
      .execute();
    await nameLinks(tx, streams, checkpoint.number);
    const hash = checkpointHash(jws);
    // the log is kept outside the database: a reader who compares both notices a database that was set back
    log.info({ checkpoint: checkpoint.number, hash }, 'audit.checkpoint_made');
    return { number: checkpoint.number, hash, madeAt: made_at, chainedSince: checkpoint.chained_since, database };
  }

  /** The previous checkpoint: the database's, unless this node remembers a later one from the same run. */
  async #before(tx: Tx, database: string): Promise<PreviousCheckpoint> {
    const rows = await tx.selectFrom('audit_checkpoints').selectAll().orderBy('number', 'desc').limit(20).execute();
    const { keys, log } = this.#settings;
    const [stored] = rows;
    const known = this.#last;
    if (known?.database === database && (stored?.number ?? 0) < known.number) {
      log.error({ checkpoint: known.number }, 'audit.checkpoint_lost');
      return { last: known };
    }
    const lost = known && known.database !== database && !(await checkpointExists(tx, known)) ? known : undefined;
    if (!stored) return { last: undefined, lost };
    const signed = rows.flatMap(({ jws }) => verifyCheckpoint(jws, keys.publicJwks) ?? [])[0];
    const read = readCheckpoint(stored.jws);
    const last = {
      number: stored.number,
      hash: checkpointHash(stored.jws),
      madeAt: read?.made_at ?? stored.made_at.toISOString(),
      chainedSince: signed?.chained_since ?? this.#last?.chainedSince ?? ALWAYS,
      database,
    };
    return { last, lost };
  }
}

type NamedHead = Pick<Head, 'number' | 'hash' | 'sequence'>;

function lastSequence({ first, entries }: Link): number {
  return first + entries.length - 1;
}

/** Compares hashes, because another checkpoint may have the same number since the database was set back. */
async function checkpointExists(tx: Tx, { number, hash }: LastCheckpoint): Promise<boolean> {
  const rows = await tx.selectFrom('audit_checkpoints').select('jws').where('number', '=', number).execute();
  return rows.some(({ jws }) => checkpointHash(jws) === hash);
}

/** The start of the oldest kept month (whole months are dropped); `undefined` if everything is kept. */
export function retainedFrom(now: Date, retentionDays: number): Date | undefined {
  return retentionDays === 0 ? undefined : monthOf(addSeconds(now, -retentionDays * DAY_SECONDS));
}

/** From when on each entry has a link: one hour from now if this is an upgrade, else always. */
async function beginning(tx: Tx, now: Date): Promise<string> {
  // the migration keeps the entries from before the upgrade in a partition of their own
  const { rows } = await sql`select where to_regclass('audit_events_before') is not null`.execute(tx);
  return rows.length === 0 ? ALWAYS : addSeconds(now, UPGRADE_SECONDS).toISOString();
}

async function nameLinks(tx: Tx, segments: readonly Segment[], checkpoint: number): Promise<void> {
  await sql`update audit_links l set checkpoint = ${checkpoint}
    from unnest(${segments.map(({ stream }) => stream)}::uuid[], ${segments.map(({ after }) => after)}::bigint[],
      ${segments.map(({ number }) => number)}::bigint[]) as s(stream, after, number)
    where l.stream = s.stream and l.number > s.after and l.number <= s.number and l.checkpoint is null`.execute(tx);
}
