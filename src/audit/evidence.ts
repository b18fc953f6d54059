/**
 * Exports the trail as evidence: lines of JSON that can be verified with the public key alone. First a header, then for
 * each checkpoint its JWS and, for each of its segments, the links, each followed by its entries. At the end come
 * entries in the database that no checkpoint covers; a trail without tampering has none. During that search the export
 * also writes progress lines, because proxies cut connections that are idle. The export does not judge what it reads;
 * the verifier does.
 *
 * A stream has millions of entries, and PostgreSQL can not guess from its id where some of them are. So the export asks
 * segment by segment and link by link (`lateral`, ordered within), with one index look-up each.
 */
import { sql } from 'kysely';
import type { Database } from '../db/connection.ts';
import type { AuditKeys } from './audit_keys.ts';
import { canonical } from './canonical.ts';
import { HASH_BYTES, hashOf, type Entry, type Link } from './chain.ts';
import { readCheckpoint, verifyCheckpoint, type Segment } from './checkpoint.ts';
import { exactTime, linkColumns, storedLink, withoutMicroseconds, type LinkRow } from './link_rows.ts';

export interface EvidenceRange {
  /** Starts at the first checkpoint made at this time or later; by default at the first checkpoint. */
  readonly from?: Date | undefined;
  /** Ends with the first checkpoint made at this time or later; by default with the last checkpoint. */
  readonly to?: Date | undefined;
}

/** The first line of an export. */
export interface EvidenceHeader {
  readonly version: 1;
  readonly issuer: string;
  readonly exported_at: string;
  readonly from: string | null;
  readonly to: string | null;
  /** The JWS of the newest checkpoint, which may be outside the range. */
  readonly latest: string;
  /** For information only: a verifier uses keys that it already trusts. */
  readonly keys: readonly object[];
}

export type EvidenceLine =
  | { readonly evidence: EvidenceHeader }
  | { readonly checkpoint: string }
  | { readonly link: Link }
  | { readonly unproven: Entry }
  /** A progress line: no other entry up to this time lacks a checkpoint. */
  | { readonly examined: string }
  | Entry;

export interface EvidenceSource {
  readonly database: Database;
  readonly keys: AuditKeys;
  readonly issuer: string;
}

const CHECKPOINTS_AT_ONCE = 50;
const LINKS_AT_ONCE = 200;
const ENTRIES_AT_ONCE = 1_000;

/**
 * Yields the export of a range in pieces of some lines each. The caller makes a checkpoint first, so that it covers all
 * entries. Throws if there is no checkpoint.
 */
export async function* exportEvidence(
  source: EvidenceSource,
  range: EvidenceRange,
  now: Date,
): AsyncGenerator<string, void, void> {
  const { database, keys, issuer } = source;
  const latest = await newest(database);
  if (!latest) throw new Error('The audit trail has no checkpoint yet.');
  const header: EvidenceHeader = {
    version: 1,
    issuer,
    exported_at: now.toISOString(),
    from: range.from?.toISOString() ?? null,
    to: range.to?.toISOString() ?? null,
    latest: latest.jws,
    keys: keys.publicJwks,
  };
  yield lines([{ evidence: header }]);
  for await (const { jws } of checkpoints(database, range, latest.number)) {
    yield lines([{ checkpoint: jws }]);
    const checkpoint = readCheckpoint(jws);
    // a segment has at least one link, unless retention dropped its links
    const segments = checkpoint?.streams ?? [];
    for (let at = 0; at < segments.length; at += LINKS_AT_ONCE)
      yield* segmentsOf(database, segments.slice(at, at + LINKS_AT_ONCE));
  }
  yield* unproven(source, range);
}

function lines(values: readonly EvidenceLine[]): string {
  return values.map((value) => `${canonical(value)}\n`).join('');
}

interface CheckpointRow {
  readonly number: number;
  readonly made_at: Date;
  readonly jws: string;
}

function newest(database: Database): Promise<CheckpointRow | undefined> {
  return database.selectFrom('audit_checkpoints').selectAll().orderBy('number', 'desc').limit(1).executeTakeFirst();
}

async function* checkpoints(
  database: Database,
  { from, to }: EvidenceRange,
  last: number,
): AsyncGenerator<CheckpointRow> {
  let after = 0;
  for (;;) {
    let query = database
      .selectFrom('audit_checkpoints')
      .selectAll()
      .where('number', '>', after)
      .where('number', '<=', last)
      .orderBy('number')
      .limit(CHECKPOINTS_AT_ONCE);
    if (from) query = query.where('made_at', '>=', from);
    const rows = await query.execute();
    for (const row of rows) {
      yield row;
      if (to && row.made_at >= to) return;
    }
    if (rows.length < CHECKPOINTS_AT_ONCE) return;
    after = rows.at(-1)!.number;
  }
}

/** Yields the links of all segments in order, each with its entries after it. */
async function* segmentsOf(database: Database, named: readonly Segment[]): AsyncGenerator<string> {
  let after = { place: 0, number: 0 };
  for (;;) {
    const { rows } = await sql<LinkRow & { place: number }>`select s.place, l.*
      from unnest(${named.map(({ stream }) => stream)}::uuid[], ${named.map((segment) => segment.after)}::bigint[],
        ${named.map(({ number }) => number)}::bigint[]) with ordinality as s(stream, after, last, place)
      cross join lateral (select ${linkColumns} from audit_links l
        where l.stream = s.stream and l.number <= s.last
          and l.number > case s.place when ${after.place} then ${after.number} else s.after end
        order by l.number limit ${LINKS_AT_ONCE}) l
      where s.place >= ${after.place}
      order by s.place, l.number limit ${LINKS_AT_ONCE}`.execute(database);
    const links = rows.map((row) => storedLink(row).link);
    for (const some of bySize(links)) yield* withEntries(database, some);
    if (rows.length < LINKS_AT_ONCE) return;
    after = { place: rows.at(-1)!.place, number: rows.at(-1)!.number };
  }
}

/** Groups links so that each group covers about `ENTRIES_AT_ONCE` entries. */
function bySize(links: readonly Link[]): Link[][] {
  const groups: Link[][] = [];
  let capacity = 0;
  for (const link of links) {
    if (capacity <= 0) {
      groups.push([]);
      capacity = ENTRIES_AT_ONCE;
    }
    groups.at(-1)!.push(link);
    capacity -= link.entries.length;
  }
  return groups;
}

async function* withEntries(database: Database, links: readonly Link[]): AsyncGenerator<string> {
  const { rows } = await sql<EntryRow & { place: number }>`select s.place, e.*
    from unnest(${links.map(({ stream }) => stream)}::uuid[], ${links.map(({ first }) => first)}::bigint[],
      ${links.map(({ first, entries }) => first + entries.length)}::bigint[]) with ordinality as s(stream, first, next, place)
    cross join lateral (select ${entryColumns} from audit_events e
      where e.stream = s.stream and e.sequence >= s.first and e.sequence < s.next
      order by e.sequence, e.occurred_at) e
    order by s.place, e.sequence, e.occurred_at`.execute(database);
  const covered = links.map((): Entry[] => []);
  for (const row of rows) covered[row.place - 1]!.push(entryOf(row));
  yield links.map((link, place) => lines([{ link }, ...covered[place]!])).join('');
}

interface EntryRow {
  readonly stream: string;
  readonly sequence: number;
  readonly exactly: string;
  readonly occurred_at: Date;
  readonly event: string;
  readonly outcome: 'success' | 'refused';
  readonly actor_type: 'client' | 'account' | 'system' | 'anonymous';
  readonly actor_id: string | null;
  readonly account_id: string | null;
  readonly client_id: string | null;
  readonly address: string | null;
  readonly request_id: string | null;
  readonly details: Readonly<Record<string, unknown>>;
}

const entryColumns = sql`e.*, ${exactTime('e.occurred_at')} as exactly`;

function entryOf(row: EntryRow): Entry {
  return {
    stream: row.stream,
    sequence: row.sequence,
    occurred_at: withoutMicroseconds(row.exactly),
    event: row.event,
    outcome: row.outcome,
    actor: { type: row.actor_type, ...(row.actor_id !== null && { id: row.actor_id }) },
    account_id: row.account_id,
    client_id: row.client_id,
    address: row.address,
    request_id: row.request_id,
    details: row.details,
  };
}

/** The columns that identify an entry. */
interface ScannedEntry extends Pick<EntryRow, 'stream' | 'sequence' | 'exactly'> {
  /** The number of the link that covers the entry, if there is one. */
  readonly link: number | null;
  readonly checkpoint: number | null;
}

/**
 * Yields each entry of the range whose link is missing, has no valid seal, or is not in the checkpoint that it names.
 */
async function* unproven({ database, keys }: EvidenceSource, range: EvidenceRange): AsyncGenerator<string> {
  const named = new NamedLinks(database, keys);
  let last: ScannedEntry | undefined;
  for (;;) {
    const rows = await scan(database, range, last);
    last = rows.at(-1);
    if (!last) return;
    const doubtful: ScannedEntry[] = [];
    for (const row of rows) if (!(await named.covers(row))) doubtful.push(row);
    const outside = doubtful.length === 0 ? [] : await read(database, doubtful);
    yield lines([...outside.map((entry) => ({ unproven: entry })), { examined: withoutMicroseconds(last.exactly) }]);
  }
}

async function read(database: Database, wanted: readonly ScannedEntry[]): Promise<Entry[]> {
  const { rows } = await sql<EntryRow>`select ${entryColumns}
    from unnest(${wanted.map(({ stream }) => stream)}::uuid[], ${wanted.map(({ sequence }) => sequence)}::bigint[],
      ${wanted.map(({ exactly }) => exactly)}::timestamptz[]) with ordinality as s(stream, sequence, occurred_at, place)
    join audit_events e using (stream, sequence, occurred_at) order by s.place`.execute(database);
  return rows.map(entryOf);
}

async function scan(database: Database, { from, to }: EvidenceRange, last?: ScannedEntry): Promise<ScannedEntry[]> {
  const after =
    last &&
    sql`and (e.occurred_at, e.stream, e.sequence) > (${last.exactly}::timestamptz, ${last.stream}, ${last.sequence})`;
  const { rows } = await sql<ScannedEntry>`select e.stream, e.sequence, ${exactTime('e.occurred_at')} as exactly,
      l.number as link, l.checkpoint from audit_events e
    left join lateral (
      select number, checkpoint, first_sequence + octet_length(entries) / ${HASH_BYTES}::int as next from audit_links
      where stream = e.stream and first_sequence <= e.sequence order by first_sequence desc limit 1
    ) l on e.sequence < l.next
    where true ${from ? sql`and e.occurred_at >= ${from}` : sql``} ${to ? sql`and e.occurred_at < ${to}` : sql``}
    ${after ?? sql``}
    order by e.occurred_at, e.stream, e.sequence limit ${ENTRIES_AT_ONCE}`.execute(database);
  return rows;
}

const CHECKPOINTS_KEPT = 100;

/** Looks up in signed checkpoints which links they name. */
class NamedLinks {
  readonly #database: Database;
  readonly #keys: AuditKeys;
  readonly #segments = new Map<number, ReadonlyMap<string, Segment>>();

  constructor(database: Database, keys: AuditKeys) {
    this.#database = database;
    this.#keys = keys;
  }

  async covers({ stream, link, checkpoint }: ScannedEntry): Promise<boolean> {
    if (link === null) return false;
    // written since the last checkpoint
    if (checkpoint === null) return this.#isSealed(stream, link);
    const segment = (await this.#segmentsOf(checkpoint)).get(stream);
    return segment !== undefined && link > segment.after && link <= segment.number;
  }

  async #segmentsOf(checkpoint: number): Promise<ReadonlyMap<string, Segment>> {
    const known = this.#segments.get(checkpoint);
    if (known) return known;
    const rows = await this.#database
      .selectFrom('audit_checkpoints')
      .select('jws')
      .where('number', '=', checkpoint)
      .execute();
    const signed = rows.flatMap(({ jws }) => verifyCheckpoint(jws, this.#keys.publicJwks) ?? []);
    const segments = new Map(signed.flatMap(({ streams }) => streams).map((segment) => [segment.stream, segment]));
    // entries are read in the order of time, and so, nearly, are their checkpoints
    if (this.#segments.size >= CHECKPOINTS_KEPT) this.#segments.clear();
    this.#segments.set(checkpoint, segments);
    return segments;
  }

  async #isSealed(stream: string, number: number): Promise<boolean> {
    const { rows } = await sql<LinkRow>`select ${linkColumns} from audit_links l
      where stream = ${stream} and number = ${number}`.execute(this.#database);
    return rows.map(storedLink).every(({ link, seal }) => this.#keys.isSealed(hashOf(link), seal));
  }
}
