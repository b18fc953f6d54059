/**
 * Makes checkpoints: any node, one at a time, each naming the heads of all streams that grew since the one before,
 * whichever node wrote them. A link that no node sealed is never named. What this process wrote itself it names as it
 * remembers it, whatever the database says by now: so an entry that was taken away or altered in the meantime is
 * missed by whoever verifies.
 *
 * Where the database was set back (a standby that lacked the last changes, a backup), what it lost is no tampering: the
 * ends of streams and checkpoints that this process remembers from another run of the server, and that are not there,
 * are named in an entry of their own, `audit.set_back`, and the chain goes on from what is there.
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

/** Few enough that a checkpoint stays under some hundred kilobytes. */
const LINKS_AT_ONCE = 2_000;
/** So many are hashed before requests have their turn again. */
const LINKS_IN_A_ROW = 50;
/** A version that made no links may still be running beside the first one that does. */
const UPGRADE_SECONDS = 3_600;
const ALWAYS = new Date(0).toISOString();

/** The checkpoint before: what this node remembers, or what the database has. */
interface Last {
  readonly number: number;
  readonly hash: string;
  readonly madeAt: string;
  readonly chainedSince: string;
  /** Which database it was in when this process saw it last (db/identity.ts). */
  readonly database: string;
}

interface Before {
  readonly last: Last | undefined;
  /** One that this process remembers and a database that was set back doesn't have. */
  readonly lost?: Last | undefined;
}

/** What this process wrote and a database that was set back doesn't have. */
interface Lost {
  readonly streams: number;
  readonly entries: number;
  readonly checkpoint: Last | undefined;
}

export class Checkpoints {
  readonly #settings: CheckpointSettings;
  #last: Last | undefined;
  #madeAt: number;
  #making: Promise<void> = Promise.resolve();

  constructor(settings: CheckpointSettings) {
    this.#settings = settings;
    this.#madeAt = settings.clock().getTime();
  }

  /** When this resolves, everything that was written before the call is under a checkpoint. */
  make(): Promise<void> {
    this.#making = this.#making.catch(() => {}).then(() => this.#makeAll());
    return this.#making;
  }

  /** How long ago this node last saw to it that everything is under a checkpoint. */
  ageMilliseconds(): number {
    return this.#settings.clock().getTime() - this.#madeAt;
  }

  async #makeAll(): Promise<void> {
    const began = this.#settings.clock().getTime();
    while (await this.#makeOne());
    this.#madeAt = began;
  }

  /** Answers whether there may be more to name. */
  async #makeOne(): Promise<boolean> {
    const { database, trail } = this.#settings;
    const remembered = trail.heads();
    const { last, whole, isLost } = await transact(database, async (tx) => {
      // whoever waits here for another node then sees what that one has named
      await sql`select pg_advisory_xact_lock(hashtext('gatehouse.audit_checkpoints'))`.execute(tx);
      const identity = await readIdentity(tx);
      const { links: unnamed, whole: all } = await this.#unnamed(tx);
      const { segments, lost } = await this.#segments(tx, unnamed, all ? remembered : new Map(), identity);
      const isKnown = segments.length === 0 && (!this.#last || this.#last.database === identity);
      const before: Before = isKnown ? { last: this.#last } : await this.#before(tx, identity);
      const setBack: Lost = { ...lost, checkpoint: before.lost };
      const anything = setBack.streams > 0 || setBack.checkpoint !== undefined;
      if (anything) await this.#recordSetBack(tx, setBack, before.last);
      const signed = segments.length === 0 ? before.last : await this.#sign(tx, segments, before.last, identity);
      return { last: signed, whole: all, isLost: anything };
    });
    this.#last = last;
    if (whole) trail.forget(remembered);
    // the entry about what was lost is to be named, too
    return !whole || isLost;
  }

  async #recordSetBack(tx: Tx, { streams, entries, checkpoint }: Lost, last: Last | undefined): Promise<void> {
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

  /** Links that no checkpoint names yet and that a node has sealed; those that no node has sealed are put aside. */
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
  ): Promise<{ segments: Segment[]; lost: Omit<Lost, 'checkpoint'> }> {
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
      const stands =
        !head ||
        head.number < after ||
        (head.number === after ? head.hash === hash : found && head.hash === hashOf(found.link));
      const last = links.at(-1);
      const isCutOff = head && head.database !== identity && head.number > (last?.link.number ?? after);
      if (isCutOff) {
        lost.streams++;
        lost.entries += head.sequence - (last ? lastSequence(last.link) : sequence);
      }
      if (!stands && !isCutOff) {
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
  async #named(tx: Tx, streams: readonly string[]): Promise<Map<string, Named>> {
    const { rows } = await sql<LinkRow>`select ${linkColumns} from unnest(${streams}::uuid[]) as s(stream)
      join lateral (select * from audit_links where stream = s.stream and checkpoint > 0
        order by number desc limit 1) l on true`.execute(tx);
    return new Map(
      rows
        .map(storedLink)
        .map(({ link }): [string, Named] => [
          link.stream,
          { number: link.number, hash: hashOf(link), sequence: lastSequence(link) },
        ]),
    );
  }

  async #sign(tx: Tx, streams: readonly Segment[], last: Last | undefined, database: string): Promise<Last> {
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
    // the log leaves the house: who compares it with the database sees a database that was set back
    log.info({ checkpoint: checkpoint.number, hash }, 'audit.checkpoint_made');
    return { number: checkpoint.number, hash, madeAt: made_at, chainedSince: checkpoint.chained_since, database };
  }

  /** The last one: the database's, unless this node remembers a later one of the same run. */
  async #before(tx: Tx, database: string): Promise<Before> {
    const rows = await tx.selectFrom('audit_checkpoints').selectAll().orderBy('number', 'desc').limit(20).execute();
    const { keys, log } = this.#settings;
    const [stored] = rows;
    const known = this.#last;
    if (known?.database === database && (stored?.number ?? 0) < known.number) {
      log.error({ checkpoint: known.number }, 'audit.checkpoint_lost');
      return { last: known };
    }
    const lost = known && known.database !== database && !(await isThere(tx, known)) ? known : undefined;
    if (!stored) return { last: undefined, lost };
    const signed = rows.flatMap(({ jws }) => verifyCheckpoint(jws, keys.publicJwks) ?? [])[0];
    const says = readCheckpoint(stored.jws);
    const last = {
      number: stored.number,
      hash: checkpointHash(stored.jws),
      madeAt: says?.made_at ?? stored.made_at.toISOString(),
      chainedSince: signed?.chained_since ?? this.#last?.chainedSince ?? ALWAYS,
      database,
    };
    return { last, lost };
  }
}

type Named = Pick<Head, 'number' | 'hash' | 'sequence'>;

function lastSequence({ first, entries }: Link): number {
  return first + entries.length - 1;
}

/** Another one may have its number since the database was set back. */
async function isThere(tx: Tx, { number, hash }: Last): Promise<boolean> {
  const rows = await tx.selectFrom('audit_checkpoints').select('jws').where('number', '=', number).execute();
  return rows.some(({ jws }) => checkpointHash(jws) === hash);
}

/** From when on nothing was dropped: months are dropped whole. */
export function retainedFrom(now: Date, retentionDays: number): Date | undefined {
  return retentionDays === 0 ? undefined : monthOf(addSeconds(now, -retentionDays * DAY_SECONDS));
}

/** Entries may be without a link until an upgrade is over; where there are none, none ever may. */
async function beginning(tx: Tx, now: Date): Promise<string> {
  // what an upgrade found is a partition of its own
  const { rows } = await sql`select where to_regclass('audit_events_before') is not null`.execute(tx);
  return rows.length === 0 ? ALWAYS : addSeconds(now, UPGRADE_SECONDS).toISOString();
}

async function nameLinks(tx: Tx, segments: readonly Segment[], checkpoint: number): Promise<void> {
  await sql`update audit_links l set checkpoint = ${checkpoint}
    from unnest(${segments.map(({ stream }) => stream)}::uuid[], ${segments.map(({ after }) => after)}::bigint[],
      ${segments.map(({ number }) => number)}::bigint[]) as s(stream, after, number)
    where l.stream = s.stream and l.number > s.after and l.number <= s.number and l.checkpoint is null`.execute(tx);
}
